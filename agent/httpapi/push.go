package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

// statuses are what can be pushed.
var statuses = map[string]client.Status{
	"SERVING":     client.Serving,
	"NOT_SERVING": client.NotServing,
	"UNKNOWN":     client.Unknown,
}

const sendThis = `send SERVING, NOT_SERVING or UNKNOWN, and after it a reason if there is one; or JSON: {"status": "NOT_SERVING", "reason": "disk full"}`

// badPush is why a push is refused, with the HTTP status of the answer.
type badPush struct {
	code int
	text string
}

func (e *badPush) Error() string { return e.text }

func bad(code int, format string, args ...any) error {
	return &badPush{code, fmt.Sprintf(format, args...)}
}

// push takes the status of a service, or takes it back.
func (h *handler) push(w http.ResponseWriter, r *http.Request, name string) {
	var err error
	if r.Method == http.MethodDelete {
		err = h.source.Release(name)
	} else {
		err = h.take(w, r, name)
		h.metrics.pushed(err)
	}
	var refused *badPush
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, ErrUnknown):
		h.unknown(w, r, name)
	case errors.Is(err, ErrNotPushable):
		text(w, r, http.StatusForbidden, fmt.Sprintf("the agent takes no push for %q: its file gives the service neither push: true nor a ttl check", name))
	case errors.Is(err, ErrStopping):
		text(w, r, http.StatusServiceUnavailable, "the agent is stopping, and takes no more pushes")
	case errors.As(err, &refused):
		text(w, r, refused.code, refused.text)
	default:
		text(w, r, http.StatusInternalServerError, "the push was not taken: "+err.Error())
	}
}

func (h *handler) take(w http.ResponseWriter, r *http.Request, name string) error {
	asJSON, err := bodyKind(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxPushBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bad(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", MaxPushBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return bad(http.StatusRequestTimeout, "the body has not come within %v", readTimeout)
	case err != nil:
		return bad(http.StatusBadRequest, "the body did not come whole")
	}
	st, reason, err := decodePush(body, asJSON)
	if err != nil {
		return err
	}
	return h.source.Push(name, st, reason)
}

// bodyKind says whether a body is said to be JSON. curl -d says "application/x-www-form-urlencoded" of anything, so what
// is named so is taken as text.
func bodyKind(r *http.Request) (asJSON bool, err error) {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return false, bad(http.StatusUnsupportedMediaType, "the body has the Content-Encoding %q; send it without one", coding)
	}
	header := r.Header.Get("Content-Type")
	if header == "" {
		return false, nil
	}
	kind, params, err := mime.ParseMediaType(header)
	if charset := strings.ToLower(params["charset"]); err != nil || charset != "" && charset != "utf-8" && charset != "us-ascii" {
		return false, bad(http.StatusUnsupportedMediaType, "the Content-Type is %q; use text/plain or application/json, in UTF-8", header)
	}
	switch kind {
	case "application/json":
		return true, nil
	case "text/plain", "application/x-www-form-urlencoded", "application/octet-stream":
		return false, nil
	}
	return false, bad(http.StatusUnsupportedMediaType, "the Content-Type is %q; use text/plain or application/json", header)
}

// decodePush reads a body: JSON, or a status and, in further words, the reason.
func decodePush(body []byte, asJSON bool) (client.Status, string, error) {
	if !utf8.Valid(body) {
		return 0, "", bad(http.StatusBadRequest, "the body is not UTF-8; %s", sendThis)
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return 0, "", bad(http.StatusBadRequest, "the body is empty; %s", sendThis)
	}
	var word, reason string
	if asJSON || body[0] == '{' {
		var err error
		if word, reason, err = decodeJSON(body); err != nil {
			return 0, "", err
		}
	} else if i := bytes.IndexAny(body, " \t\r\n"); i < 0 {
		word = string(body)
	} else {
		word, reason = string(body[:i]), string(bytes.TrimSpace(body[i:]))
	}
	st, ok := statuses[strings.ToUpper(word)]
	switch {
	case ok:
	case strings.Contains(word, "="):
		return 0, "", bad(http.StatusBadRequest, "the body is %s, which looks like a form; %s", quote(word), sendThis)
	default:
		return 0, "", bad(http.StatusBadRequest, "the status is %s; %s", quote(word), sendThis)
	}
	if err := limits.Reason(reason); err != nil {
		return 0, "", bad(http.StatusBadRequest, "the reason %s", err.Plain())
	}
	return st, reason, nil
}

// decodeJSON reads {"status": "…", "reason": "…"}. It takes each key once, and no other key.
func decodeJSON(body []byte) (status, reason string, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", "", bad(http.StatusBadRequest, "the body is not a JSON object; %s", sendThis)
	}
	seen := map[string]bool{}
	for d.More() {
		key, ok := nextText(d)
		if !ok {
			return "", "", badJSON()
		}
		if key != "status" && key != "reason" {
			return "", "", bad(http.StatusBadRequest, `the JSON has the key %s; it may have "status" and "reason"`, quote(key))
		}
		if seen[key] {
			return "", "", bad(http.StatusBadRequest, "the JSON has the key %q twice", key)
		}
		seen[key] = true
		t, err := d.Token()
		if err != nil {
			return "", "", badJSON()
		}
		value, ok := t.(string)
		if !ok {
			return "", "", bad(http.StatusBadRequest, "%q in the JSON must be a text", key)
		}
		if key == "status" {
			status = value
		} else {
			reason = value
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return "", "", badJSON()
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", "", bad(http.StatusBadRequest, "something follows the JSON object; send one object")
	}
	if !seen["status"] {
		return "", "", bad(http.StatusBadRequest, `the JSON has no "status"; %s`, sendThis)
	}
	return status, reason, nil
}

func nextText(d *json.Decoder) (string, bool) {
	t, err := d.Token()
	if err != nil {
		return "", false
	}
	s, ok := t.(string)
	return s, ok
}

func badJSON() error {
	return bad(http.StatusBadRequest, "the JSON is cut off or broken; %s", sendThis)
}

// quote shows what a caller sent, not more than a line of it.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		end := most
		for !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return strconv.Quote(s)
}
