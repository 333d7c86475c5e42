package rest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
)

// documentPath is where the description of the API stands.
const documentPath = "/api/v1/openapi.json"

// documentTag stands for the plain and the compressed document, which have other bytes, so that it is a weak one
// (RFC 9110, 8.8.1). documentOpaque is it as a strong one, which a client may have made of it.
var documentTag, documentOpaque = func() (weak, opaque string) {
	sum := sha256.Sum256(restv1.Document)
	opaque = `"` + hex.EncodeToString(sum[:8]) + `"`
	return "W/" + opaque, opaque
}()

// document answers with the description of the API. It holds nothing of the registry.
func (h *Handler) document(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	c := callOf(r.Context())
	header := w.Header()
	header.Set("ETag", documentTag)
	header.Set("Cache-Control", "no-cache") // it may be kept, and is asked for again
	for _, value := range c.req.Header.Values("If-None-Match") {
		tags := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
		if slices.Contains(tags, documentTag) || slices.Contains(tags, documentOpaque) || slices.Contains(tags, "*") {
			c.out.WriteHeader(http.StatusNotModified)
			return
		}
	}
	_ = c.out.send(http.StatusOK, restv1.Document)
}
