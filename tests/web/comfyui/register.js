/** node --import tests/web/comfyui/register.js: web/js finds this folder where ComfyUI would be. */

import { register } from "node:module";

register("./resolve.js", import.meta.url);
