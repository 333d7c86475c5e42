package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Root is the path below which the page is.
const Root = "/ui/"

//go:embed dist
var dist embed.FS

// views are the addresses that a person can open: the script shows what they ask for.
var views = []string{"", "service", "events", "cluster", "access"}

// contentSecurityPolicy lets the page load from, and talk to, the node that served it and nobody else. No script
// or style can come in by text: none may be inline, and no text becomes HTML.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// types are the media types by extension. mime.TypeByExtension would ask the machine's own tables.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// asset is a file of the page as it is sent.
type asset struct {
	mediaType     string
	plain, zipped []byte
	hash          string
}

// Handler answers for what is below Root: the page at each of its addresses, and its files. What it serves is the
// same for everybody, and holds nothing of the registry.
func Handler() http.Handler {
	assets := read()
	h := func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			header.Set("Allow", "GET, HEAD")
			http.Error(w, "the page is only read: use GET", http.StatusMethodNotAllowed)
			return
		}
		if r.URL.Path == strings.TrimSuffix(Root, "/") {
			http.Redirect(w, r, Root, http.StatusPermanentRedirect)
			return
		}
		name, below := strings.CutPrefix(r.URL.Path, Root)
		if slices.Contains(views, name) {
			name = "index.html"
		} else if name == "index.html" {
			below = false // one page has one address
		}
		a, ok := assets[name]
		if !below || !ok {
			http.Error(w, fmt.Sprintf("there is no such page; the first one is %s", Root), http.StatusNotFound)
			return
		}
		a.serve(w, r)
	}
	return http.HandlerFunc(h)
}

// Off answers instead of Handler on a node without the page.
func Off() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this node does not serve the page; start the node with --web", http.StatusNotFound)
	})
}

func read() map[string]asset {
	entries, err := dist.ReadDir("dist")
	if err != nil {
		panic(fmt.Sprintf("the page is not in the program: %v", err)) // the compiler put it there
	}
	assets := make(map[string]asset, len(entries))
	for _, e := range entries {
		content, err := dist.ReadFile("dist/" + e.Name())
		if err != nil {
			panic(fmt.Sprintf("the page is not in the program: %v", err))
		}
		sum := sha256.Sum256(content)
		assets[e.Name()] = asset{types[path.Ext(e.Name())], content, zip(content), hex.EncodeToString(sum[:12])}
	}
	return assets
}

func zip(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("compress a file of the page in memory: %v", err))
	}
	return b.Bytes()
}

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	// A browser asks each time whether the file is still the same: after an upgrade of the node it is not.
	header.Set("Cache-Control", "no-cache")
	header.Set("Vary", "Accept-Encoding")
	body, tag := a.plain, strconv.Quote(a.hash)
	if accepts(r.Header.Values("Accept-Encoding"), "gzip") {
		body, tag = a.zipped, strconv.Quote(a.hash+"-gzip")
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("ETag", tag)
	if matches(r.Header.Values("If-None-Match"), tag) {
		header.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", a.mediaType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		w.Write(body) // an error is the reader's, who has gone
	}
}

// accepts says whether a list of codings (RFC 9110, 12.5.3) holds one.
func accepts(values []string, coding string) bool {
	for _, part := range strings.Split(strings.Join(values, ","), ",") {
		name, weight, weighted := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		if !weighted {
			return true
		}
		_, q, _ := strings.Cut(weight, "=")
		number, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		return err == nil && number > 0
	}
	return false
}

// matches says whether If-None-Match names tag. A proxy may have made it a weak one.
func matches(values []string, tag string) bool {
	for _, part := range strings.Split(strings.Join(values, ","), ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == tag {
			return true
		}
	}
	return false
}
