// Package web is the page: what a browser loads from a node that is started with --web. It holds files and
// the rules under which a browser may use them, and knows nothing of the registry: all that the page shows it
// reads from the public API under /api/v1, as any other client does.
//
// The source is in src (TypeScript, CSS, HTML). "make web" builds it into dist, which is committed, so that
// building Rollcall needs Go alone. See docs/web.md and decision 64.
package web
