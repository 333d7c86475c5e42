// Draws anew what changed and nothing else: focus, selection and scrolling stay where they are.

// An element with data-key is kept only for the same key. What has listeners that differ from row to row needs one.
export function patch(old: Element, fresh: Element): void {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const before = [...old.childNodes], after = [...fresh.childNodes];
  after.forEach((n, i) => {
    const o = before[i];
    if (!o) old.append(n);
    else if (n.nodeName !== o.nodeName || (n as HTMLElement).dataset?.key !== (o as HTMLElement).dataset?.key) o.replaceWith(n);
    else if (n instanceof Element) patch(o as Element, n);
    else if (n.nodeValue !== o.nodeValue) o.nodeValue = n.nodeValue;
  });
  for (const o of before.slice(after.length)) o.remove();
}
