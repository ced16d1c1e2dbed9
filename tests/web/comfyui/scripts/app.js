/** ComfyUI's scripts/app.js, as far as the pack uses it: a graph of nodes, and what is around it. */

const MUTED = 2;
const ROW = 24; // the height of a widget

/** A node of the editor. fields: the schema's own widgets, with their first values. */
export class Node {
  properties = {};
  widgets = [];
  mode = 0;
  size = [210, 60];
  drawings = 0; // how often the canvas was asked to draw it again

  constructor(comfyClass, fields = {}) {
    this.comfyClass = this.title = comfyClass;
    for (const [name, value] of Object.entries(fields)) {
      this.addWidget("number", name, value, null, {});
    }
  }

  addWidget(type, name, value, callback, options = {}) {
    const widget = { type, name, value, callback, options };
    this.widgets.push(widget);
    return widget;
  }

  addDOMWidget(name, type, element, options = {}) {
    const widget = { type, name, element, options };
    Object.defineProperty(widget, "value", {
      get: () => options.getValue?.(),
      set: (value) => {
        options.setValue?.(value);
      },
    });
    this.widgets.push(widget);
    return widget;
  }

  computeSize() {
    const heights = this.widgets.map(({ options }) => options.getMinHeight?.() ?? ROW);
    return [210, heights.reduce((sum, height) => sum + height, 30)];
  }

  setSize(size) {
    this.size = size;
  }

  setDirtyCanvas() {
    this.drawings += 1;
  }

  /** What a saved workflow holds of it. */
  serialize() {
    const saved = this.widgets.filter((widget) => widget.serialize !== false);
    return structuredClone({
      id: this.id,
      type: this.comfyClass,
      properties: this.properties,
      widgets_values: saved.map(({ value }) => value),
    });
  }

  configure({ id, properties, widgets_values: values }) {
    this.id = id;
    this.properties = structuredClone(properties);
    const saved = this.widgets.filter((widget) => widget.serialize !== false);
    // An older workflow has fewer: a widget that came later keeps its default.
    saved.slice(0, values.length).forEach((widget, i) => (widget.value = values[i]));
    this.onConfigure?.();
  }
}

/** [[node, id]] of a graph and its subgraphs, without muted nodes. */
function flatten(graph, prefix = "") {
  return graph.nodes
    .filter(({ mode }) => mode !== MUTED)
    .flatMap((node) => {
      const id = `${prefix}${node.id}`;
      return node.subgraph ? flatten(node.subgraph, `${id}:`) : [[node, id]];
    });
}

class ExtensionManager {
  tabs = [];
  toasts = [];
  questions = [];
  answer = true; // to the next question
  settings = {};
  setting = { get: (id) => this.settings[id] };
  toast = { add: (toast) => this.toasts.push(toast) };
  dialog = {
    confirm: async (question) => {
      this.questions.push(question);
      return this.answer;
    },
  };

  registerSidebarTab(tab) {
    this.tabs.push(tab);
  }

  getSidebarTabs() {
    return this.tabs;
  }
}

class App {
  rootGraph = { nodes: [] };
  extensions = [];
  extensionManager = new ExtensionManager();
  refreshed = 0; // how often the lists of files were read again

  registerExtension(extension) {
    this.extensions.push(extension);
  }

  async refreshComboInNodes() {
    this.refreshed += 1;
  }

  async graphToPrompt() {
    const output = {};
    for (const [node, id] of flatten(this.rootGraph)) {
      const sent = node.widgets.filter(({ options }) => options.serialize !== false);
      const inputs = Object.fromEntries(sent.map(({ name, value }) => [name, value]));
      output[id] = { class_type: node.comfyClass, inputs };
    }
    return { output, workflow: { nodes: this.rootGraph.nodes.map((node) => node.serialize()) } };
  }

  /** Put a new node into the open workflow. */
  add(node, graph = this.rootGraph) {
    for (const extension of this.extensions) extension.nodeCreated?.(node);
    node.id ??= graph.nodes.length + 1;
    graph.nodes.push(node);
    return node;
  }

  /** Open a workflow: all nodes are made anew, as by undo. make: (type) -> Node. */
  loadGraphData({ nodes }, make) {
    this.rootGraph = { nodes: [] };
    for (const saved of nodes) this.add(make(saved.type)).configure(saved);
    for (const extension of this.extensions) extension.afterConfigureGraph?.();
  }
}

export const app = new App();
