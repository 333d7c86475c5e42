import { h, replace } from "../dom";
import type { Ctx } from "../view";

// mount shows the view in root until the function that it returns is called.
export function mount(root: HTMLElement, _params: URLSearchParams, _ctx: Ctx): () => void {
  replace(root, h("h1", null, "Map"));
  return () => {};
}
