import js from "@eslint/js";
import globals from "globals";

/** A job's name and messages are anybody's text. */
const noHtml = (property) => ({
  property,
  message: "Write text with textContent: nothing of a job is HTML.",
});

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-implicit-globals": "error",
      "no-shadow": "error",
      "no-unused-expressions": "error",
      "no-unused-vars": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "max-lines": ["error", 300],
      "max-lines-per-function": ["error", 45],
    },
  },
  {
    files: ["web/js/**"],
    languageOptions: { globals: globals.browser },
    rules: { "no-restricted-properties": ["error", noHtml("innerHTML"), noHtml("outerHTML")] },
  },
  {
    files: ["tests/web/**"],
    languageOptions: { globals: { ...globals.node, document: "readonly", window: "readonly" } },
  },
];
