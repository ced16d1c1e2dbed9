/** Of ComfyUI's frontend what web/js uses, as frontends 1.27 to 1.58 have it. */

declare module "*/scripts/api.js" {
  /** A prompt that ComfyUI refused: node_errors by node id. */
  export interface Refusal {
    error?: { message?: string };
    node_errors?: Record<string, NodeErrors>;
  }

  export interface NodeErrors {
    class_type: string;
    errors?: { message: string; details?: string }[];
  }

  export interface Prompt {
    output: Record<string, { class_type: string; inputs: Record<string, unknown> }>;
    workflow: unknown;
  }

  interface Events {
    "still_moving.job": import("../../../web/js/types").JobView;
    "still_moving.removed": { id: string };
    reconnected: null;
    status: { exec_info?: { queue_remaining?: number } } | null;
    execution_success: { prompt_id: string };
    execution_error: {
      prompt_id: string;
      node_type?: string;
      exception_type?: string;
      exception_message?: string;
    };
    execution_interrupted: { prompt_id: string };
  }

  export const api: {
    fetchApi(path: string, options?: RequestInit): Promise<Response>;
    apiURL(path: string): string;
    /** By language, what the packs' locales/<language>/main.json have. */
    getCustomNodesI18n(): Promise<Record<string, Record<string, Record<string, unknown>>>>;
    /** number: -1 puts it first. Throws an Error with the server's `response`: a Refusal. */
    queuePrompt(
      number: number,
      prompt: Prompt,
      options?: { partialExecutionTargets?: string[] },
    ): Promise<{ prompt_id: string }>;
    addEventListener<Name extends keyof Events>(
      name: Name,
      listener: (event: CustomEvent<Events[Name]>) => void,
      options?: AddEventListenerOptions,
    ): void;
  };
}

declare module "*/scripts/app.js" {
  import type { Prompt } from "*/scripts/api.js";

  export interface Widget {
    name: string;
    value?: unknown;
    options?: { values?: string[] };
    callback?: (this: Widget, ...given: unknown[]) => unknown;
    label?: string;
    disabled?: boolean;
    serialize?: boolean;
  }

  export interface DomWidgetOptions {
    hideOnZoom?: boolean;
    getMinHeight?: () => number;
    getMaxHeight?: () => number;
    getValue?: () => string | undefined;
    setValue?: (value: string) => void;
    serialize?: boolean;
    margin?: number;
  }

  /** What a node's run gave to show. */
  export interface Output {
    text?: string[];
    still_moving_job?: string[];
    still_moving_notes?: string[];
  }

  export interface GraphNode {
    id: string | number;
    comfyClass?: string;
    title: string;
    size: [number, number];
    properties: Record<string, string | undefined>;
    subgraph?: Graph;
    widgets?: Widget[];
    onConfigure?: (...given: unknown[]) => void;
    onExecuted?: (output: Output | null, ...rest: unknown[]) => void;
    computeSize(): [number, number];
    setSize(size: [number, number]): void;
    setDirtyCanvas(foreground: boolean, background: boolean): void;
    addWidget(
      type: "button",
      name: string,
      value: null,
      callback: () => void,
      options: { serialize?: boolean },
    ): Widget;
    addDOMWidget(
      name: string,
      type: string,
      element: HTMLElement,
      options: DomWidgetOptions,
    ): Widget;
  }

  export interface Graph {
    nodes?: GraphNode[];
    _nodes?: GraphNode[];
    rootGraph?: Graph;
  }

  export interface SidebarTab {
    id: string;
    icon: string;
    title: string;
    tooltip: string;
    type: "custom";
    iconBadge?: string | null;
    render(container: HTMLElement): void;
    destroy(): void;
  }

  export interface Toast {
    severity: "success" | "info" | "warn" | "error";
    summary: string;
    detail?: string;
    life?: number;
  }

  interface ExtensionManager {
    registerSidebarTab(tab: SidebarTab): void;
    getSidebarTabs?(): SidebarTab[];
    sidebarTabs?: SidebarTab[];
    setting?: { get(id: "Comfy.Locale"): string | undefined };
    toast: { add(toast: Toast): void };
    dialog?: {
      confirm?(question: {
        title: string;
        message: string;
        type: "delete";
      }): Promise<boolean | null>;
    };
  }

  /** What /object_info says of a node: by input, its type and what else is known of it. */
  export interface NodeDefinition {
    name: string;
    input?: Partial<Record<"required" | "optional", Record<string, [unknown, InputOptions?]>>>;
  }

  export interface InputOptions {
    /** Of a preset: by its name, the numbers by the names of their inputs. */
    numbers?: Record<string, import("../../../web/js/numbers.js").Numbers>;
    /** Whether a 0 is a number as any other, not the preset's. */
    zero_counts?: boolean;
  }

  export interface Command {
    id: string;
    icon: string;
    label: () => string;
    function(): Promise<void>;
  }

  interface Extension {
    name: string;
    commands?: Command[];
    getSelectionToolboxCommands?(item: Partial<GraphNode>): string[];
    init?(): Promise<void>;
    setup?(): Promise<void>;
    beforeRegisterNodeDef?(type: unknown, definition: NodeDefinition): Promise<void>;
    nodeCreated?(node: GraphNode): Promise<void>;
    afterConfigureGraph?(): void;
  }

  export const app: {
    rootGraph?: Graph;
    graph?: Graph;
    canvas?: { selectedItems: Iterable<Partial<GraphNode>> };
    extensionManager: ExtensionManager;
    registerExtension(extension: Extension): void;
    graphToPrompt(): Promise<Prompt>;
    refreshComboInNodes(): Promise<void>;
  };
}
