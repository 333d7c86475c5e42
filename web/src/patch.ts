// Draws anew what changed and nothing else: focus, selection and scrolling stay where they are.

// An element with data-key is kept only for the same key. What has listeners that differ from row to row needs one.
export function patch(old: Element, fresh: Element): void {
  for (const { name } of [...old.attributes, ...fresh.attributes]) {
    const value = fresh.getAttribute(name);
    if (value === null) old.removeAttribute(name);
    else if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const before = [...old.childNodes] as HTMLElement[], after = [...fresh.childNodes] as HTMLElement[];
  after.forEach((n, i) => {
    const o = before[i];
    if (!o) old.append(n);
    else if (n.nodeName !== o.nodeName || n.dataset?.key !== o.dataset?.key) o.replaceWith(n);
    else if (n.dataset) patch(o, n);
    else if (n.nodeValue !== o.nodeValue) o.nodeValue = n.nodeValue;
  });
  for (const o of before.slice(after.length)) o.remove();
}
