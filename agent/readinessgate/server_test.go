package readinessgate

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	podNamespace = "shop"
	podName      = "orders-7d4b9-x2x"
	podUID       = "6f1f0a2e-0000-4000-8000-000000000001"
	podPath      = "/api/v1/namespaces/shop/pods/orders-7d4b9-x2x/status"
)

// apiServer plays Kubernetes' API server for one pod, over HTTPS. It merges conditions by their type, and only for the
// media type that does so; deploy/kubernetes has one with Kubernetes' own code.
type apiServer struct {
	t   *testing.T
	srv *httptest.Server
	dir string // service account

	mu         sync.Mutex
	tokens     []string
	uid        string
	conditions []map[string]any
	answer     func(w http.ResponseWriter, r *http.Request) bool // nil, or false: the usual answer
	requests   []string                                          // METHOD path
	patches    []string
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{t: t, dir: t.TempDir(), tokens: []string{"token-1"}, uid: podUID,
		conditions: []map[string]any{{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}}}
	a.srv = httptest.NewUnstartedServer(a)
	a.srv.EnableHTTP2 = true // as the real one
	a.srv.StartTLS()
	t.Cleanup(a.srv.Close)
	a.put("token", "token-1\n")
	a.put("namespace", podNamespace)
	a.put("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.srv.Certificate().Raw})))
	return a
}

func (a *apiServer) put(file, text string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, file), []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *apiServer) getenv() map[string]string {
	host, port, err := net.SplitHostPort(a.srv.Listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "POD_NAME": podName, "POD_UID": podUID}
}

func (a *apiServer) pod() *Pod {
	a.t.Helper()
	env := a.getenv()
	p, err := Find(Places{ServiceAccount: a.dir, Getenv: func(k string) string { return env[k] }})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(p.Close)
	return p
}

func (a *apiServer) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func failure(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"details":{"name":%q,"kind":"pods"},"code":%d}`, message, reason, podName, code)
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r.Method+" "+r.URL.RequestURI())
	if a.answer != nil && a.answer(w, r) {
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	valid := false
	for _, t := range a.tokens {
		valid = valid || t == token
	}
	switch {
	case !valid:
		failure(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return
	case r.URL.Path != podPath:
		failure(w, http.StatusForbidden, "Forbidden", "no such path for this user")
		return
	case r.Method == http.MethodGet:
	case r.Method != http.MethodPatch:
		failure(w, http.StatusForbidden, "Forbidden", "no such verb for this user")
		return
	case r.Header.Get("Content-Type") != "application/strategic-merge-patch+json":
		failure(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "this patch would replace the conditions of others")
		return
	default:
		body, _ := io.ReadAll(r.Body)
		a.patches = append(a.patches, string(body))
		var p struct {
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
			Status struct {
				Conditions []map[string]any `json:"conditions"`
			} `json:"status"`
		}
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil {
			failure(w, http.StatusBadRequest, "BadRequest", err.Error())
			return
		}
		if p.Metadata.UID != "" && p.Metadata.UID != a.uid {
			failure(w, http.StatusConflict, "Conflict", "Precondition failed: UID in precondition")
			return
		}
		for _, c := range p.Status.Conditions {
			a.merge(c)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Pod", "apiVersion": "v1", "metadata": map[string]any{"name": podName, "uid": a.uid},
		"spec":   map[string]any{"readinessGates": []any{map[string]any{"conditionType": gateType}}},
		"status": map[string]any{"conditions": a.conditions},
	})
}

// merge merges a condition into those of its type. a.mu is held.
func (a *apiServer) merge(c map[string]any) {
	for _, old := range a.conditions {
		if old["type"] == c["type"] {
			for k, v := range c {
				old[k] = v
			}
			return
		}
	}
	a.conditions = append(a.conditions, c)
}

var discard = slog.New(slog.DiscardHandler)

var at = time.Date(2026, 3, 1, 12, 0, 0, 999, time.FixedZone("", 3600))
