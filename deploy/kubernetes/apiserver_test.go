package kubernetes_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

var pods = schema.GroupResource{Resource: "pods"}

// apiServer plays Kubernetes' API server for one pod, over HTTPS: it allows what the Role of the manifests allows to whoever
// has the token of now, and patches with Kubernetes' own code, each media type by its own rules.
type apiServer struct {
	t     *testing.T
	srv   *httptest.Server
	dir   string // what the volume with the token has
	rules []rbacv1.PolicyRule

	mu       sync.Mutex
	pod      *corev1.Pod   // nil: it is deleted
	token    string        // of now
	down     int           // the code that answers everything; 0: it works
	after    int           // Retry-After with that, in seconds
	changed  chan struct{} // closed and replaced when the pod changes
	requests []string      // METHOD code, in order
	patches  []string
}

func newAPIServer(t *testing.T, pod *corev1.Pod, rules []rbacv1.PolicyRule) *apiServer {
	t.Helper()
	a := &apiServer{t: t, dir: t.TempDir(), rules: rules, pod: pod, changed: make(chan struct{})}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.srv = httptest.NewUnstartedServer(a)
	a.srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.srv.EnableHTTP2 = true
	a.srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	a.srv.StartTLS()
	t.Cleanup(a.srv.Close)
	a.put("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	a.put("namespace", pod.Namespace)
	a.rotate("token-1")
	return a
}

func (a *apiServer) put(file, text string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, file), []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// rotate has only this token allowed, and puts it into the volume.
func (a *apiServer) rotate(token string) {
	a.put("token", token)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = token
}

// address is what KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT have.
func (a *apiServer) address() (host, port string) {
	host, port, err := net.SplitHostPort(a.srv.Listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	return host, port
}

// set has everything answered with a code; 0 has the server work again.
func (a *apiServer) set(code, after int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down, a.after = code, after
}

// status changes the status of the pod as the kubelet does, if it still is there.
func (a *apiServer) status(change func(*corev1.PodStatus)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pod != nil {
		change(&a.pod.Status)
		a.tell()
	}
}

// get returns a copy of the pod, nil if it is deleted, and a channel that is closed when it changes.
func (a *apiServer) get() (*corev1.Pod, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pod.DeepCopy(), a.changed
}

func (a *apiServer) delete() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pod = nil
	a.tell()
}

// replace has another pod of the same name in the place of this one.
func (a *apiServer) replace(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pod = a.pod.DeepCopy()
	a.pod.UID, a.pod.Status.Conditions = uid, nil
	a.tell()
}

// tell tells that the pod changed. a.mu is held.
func (a *apiServer) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *apiServer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.requests)
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var answer any
	code := http.StatusOK
	pod, failed := a.serve(r, body)
	switch {
	case a.down != 0:
		code = a.down
		if a.after > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(a.after))
		}
		answer = &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReasonServiceUnavailable}
	case failed != nil:
		s := failed.ErrStatus
		s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		code, answer = int(s.Code), &s
	default:
		pod.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
		answer = pod
	}
	a.requests = append(a.requests, fmt.Sprintf("%s %d", r.Method, code))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

// serve answers a request as the API server does. a.mu is held.
func (a *apiServer) serve(r *http.Request, body []byte) (*corev1.Pod, *apierrors.StatusError) {
	if a.down != 0 {
		return nil, nil
	}
	if r.Header.Get("Authorization") != "Bearer "+a.token {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	namespace, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/")
	parts := strings.Split(rest, "/")
	if !strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") || len(parts) < 2 || len(parts) > 3 {
		return nil, apierrors.NewForbidden(schema.GroupResource{}, r.URL.Path, fmt.Errorf("no rule for this path"))
	}
	resource, name := parts[0], parts[1]
	if len(parts) == 3 {
		resource += "/" + parts[2]
	}
	verb := map[string]string{http.MethodGet: "get", http.MethodPatch: "patch", http.MethodPut: "update", http.MethodDelete: "delete", http.MethodPost: "create"}[r.Method]
	if !slices.ContainsFunc(a.rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.APIGroups, "") && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb)
	}) {
		return nil, apierrors.NewForbidden(pods, name, fmt.Errorf("the Role does not allow to %s %s", verb, resource))
	}
	if a.pod == nil || resource != "pods/status" || name != a.pod.Name || namespace != a.pod.Namespace {
		return nil, apierrors.NewNotFound(pods, name)
	}
	if verb == "get" {
		return a.pod.DeepCopy(), nil
	}
	a.patches = append(a.patches, string(body))
	next, failed := a.patch(types.PatchType(r.Header.Get("Content-Type")), body)
	if failed != nil {
		return nil, failed
	}
	a.pod = next
	a.tell()
	return next.DeepCopy(), nil
}

// patch is what a patch of the status makes of the pod. a.mu is held.
func (a *apiServer) patch(kind types.PatchType, body []byte) (*corev1.Pod, *apierrors.StatusError) {
	old, err := json.Marshal(a.pod)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var merged []byte
	switch kind {
	case types.StrategicMergePatchType:
		merged, err = strategicpatch.StrategicMergePatch(old, body, corev1.Pod{})
	case types.MergePatchType:
		merged, err = mergePatch(old, body)
	default:
		return nil, apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", pods, a.pod.Name, "the body of the request was in an unknown format", 0, true)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var next corev1.Pod
	if err := yaml.UnmarshalStrict(merged, &next); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if next.UID != "" && next.UID != a.pod.UID { // no uid is that of the pod
		return nil, apierrors.NewConflict(pods, a.pod.Name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", next.UID, a.pod.UID))
	}
	// A patch of the status changes nothing else.
	kept := a.pod.DeepCopy()
	kept.Status = next.Status
	for _, c := range kept.Status.Conditions {
		if why := validation.IsQualifiedName(string(c.Type)); len(why) > 0 {
			return nil, apierrors.NewBadRequest(strings.Join(why, "; "))
		}
		if !slices.Contains([]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown}, c.Status) {
			return nil, apierrors.NewBadRequest("no such status of a condition: " + string(c.Status))
		}
	}
	return kept, nil
}

// mergePatch is RFC 7386, by which a list replaces the other.
func mergePatch(old, patch []byte) ([]byte, error) {
	var o, p map[string]any
	if err := json.Unmarshal(old, &o); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, err
	}
	var merge func(o, p map[string]any)
	merge = func(o, p map[string]any) {
		for k, v := range p {
			into, ok := o[k].(map[string]any)
			from, also := v.(map[string]any)
			switch {
			case v == nil:
				delete(o, k)
			case ok && also:
				merge(into, from)
			default:
				o[k] = v
			}
		}
	}
	merge(o, p)
	return json.Marshal(o)
}

// TestTheAPIServerPatchesAsKubernetes says what a wrong patch would do: the test of a pod's life relies on it.
func TestTheAPIServerPatchesAsKubernetes(t *testing.T) {
	const ours = `{"type":"example.com/rollcall","status":"True"}`
	for _, tc := range []struct {
		name, kind, body string
		want             string // the conditions, or an error
	}{
		{"strategic", "application/strategic-merge-patch+json", `{"status":{"conditions":[` + ours + `]}}`, "example.com/rollcall=True Ready=False"},
		{"strategic with the uid", "application/strategic-merge-patch+json", `{"metadata":{"uid":"1"},"status":{"conditions":[` + ours + `]}}`, "example.com/rollcall=True Ready=False"},
		{"merge", "application/merge-patch+json", `{"status":{"conditions":[` + ours + `]}}`, "example.com/rollcall=True"},
		{"another pod", "application/strategic-merge-patch+json", `{"metadata":{"uid":"2"},"status":{"conditions":[` + ours + `]}}`, "Precondition failed"},
		{"an unknown key", "application/strategic-merge-patch+json", `{"status":{"condition":[` + ours + `]}}`, "unknown field"},
		{"an unknown status", "application/strategic-merge-patch+json", `{"status":{"conditions":[{"type":"a/b","status":"true"}]}}`, "no such status"},
		{"a bad name", "application/strategic-merge-patch+json", `{"status":{"conditions":[{"type":"a/b/c","status":"True"}]}}`, "must consist of"},
		{"no time", "application/strategic-merge-patch+json", `{"status":{"conditions":[{"type":"a/b","status":"True","lastTransitionTime":"yesterday"}]}}`, "parsing time"},
		{"JSON", "application/json", `{}`, "unknown format"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &apiServer{pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "1"}}}
			a.pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
			next, failed := a.patch(types.PatchType(tc.kind), []byte(tc.body))
			var got []string
			if failed != nil {
				got = append(got, failed.Error())
			} else {
				for _, c := range next.Status.Conditions {
					got = append(got, fmt.Sprintf("%s=%s", c.Type, c.Status))
				}
			}
			if !strings.Contains(strings.Join(got, " "), tc.want) || failed == nil && len(got) != len(strings.Fields(tc.want)) {
				t.Errorf("%v, want %s", got, tc.want)
			}
		})
	}
}
