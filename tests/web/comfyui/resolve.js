/** What node asks about each import: the pack's pages import ComfyUI's modules from beside it. */

const HOST = new URL("./scripts/", import.meta.url);
const PACK = new URL("../../../web/js/", import.meta.url);

export async function resolve(specifier, context, next) {
  const script = /^\.\.\/\.\.\/\.\.\/scripts\/(\w+\.js)$/.exec(specifier);
  if (script && context.parentURL?.startsWith(PACK.href)) {
    return { url: new URL(script[1], HOST).href, format: "module", shortCircuit: true };
  }
  const resolved = await next(specifier, context);
  // A browser takes every script that is imported for a module; no package.json there says so.
  return resolved.url.startsWith(PACK.href) ? { ...resolved, format: "module" } : resolved;
}
