package readinessgate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	requestTimeout = 10 * time.Second
	idleTimeout    = 3 * refresh // longer than from one look at the pod to the next
	maxAnswer      = 8 << 20     // bytes; a pod has at most about 1.5 MiB
	maxRetryAfter  = 5 * time.Minute
	patchType      = "application/strategic-merge-patch+json" // conditions merge by their type; with a merge patch ours would replace all of them
)

// Pod is the pod that the agent runs in, as the API server has it. Make one with Find. Many Gates may use it.
type Pod struct {
	pod
	server *server
}

// Close closes idle connections. Call it after the Gates have ended.
func (p *Pod) Close() { p.server.close() }

// object is what a Gate needs of a pod.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		UID string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		ReadinessGates []struct {
			ConditionType string `json:"conditionType"`
		} `json:"readinessGates"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

// condition returns the condition of a type, the zero condition if the pod has none.
func (o *object) condition(conditionType string) condition {
	for _, c := range o.Status.Conditions {
		if c.Type == conditionType {
			return c
		}
	}
	return condition{}
}

func (o *object) hasGate(conditionType string) bool {
	for _, g := range o.Spec.ReadinessGates {
		if g.ConditionType == conditionType {
			return true
		}
	}
	return false
}

// read reads the pod.
func (p *Pod) read(ctx context.Context) (*object, error) { return p.do(ctx, http.MethodGet, nil) }

// write writes one condition, and leaves the others as they are. With the uid in it the patch concerns this pod only,
// and not a later one of the same name.
func (p *Pod) write(ctx context.Context, c condition) (*object, error) {
	type metadata struct {
		UID string `json:"uid"`
	}
	type status struct {
		Conditions []condition `json:"conditions"`
	}
	c.LastTransitionTime = c.LastTransitionTime.UTC().Truncate(time.Second)
	body, err := json.Marshal(struct {
		Metadata metadata `json:"metadata"`
		Status   status   `json:"status"`
	}{metadata{p.uid}, status{[]condition{c}}})
	if err != nil {
		return nil, err
	}
	return p.do(ctx, http.MethodPatch, body)
}

// errGone says that the pod is no more.
var errGone = errors.New("the pod is gone")

// answerError is an answer of the API server that is no pod.
type answerError struct {
	code       int
	reason     string // of a Status of Kubernetes; "": it was none
	message    string
	retryAfter time.Duration // 0: the server does not say
}

func (e *answerError) Error() string {
	what := http.StatusText(e.code)
	if what == "" {
		what = "an unknown status"
	}
	if e.message != "" {
		what += ": " + e.message
	}
	return fmt.Sprintf("the API server answers %d, %s", e.code, what)
}

func (p *Pod) do(ctx context.Context, method string, body []byte) (*object, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	at := p.server.url + "/api/v1/namespaces/" + p.namespace + "/pods/" + p.name + "/status"
	if method == http.MethodPatch {
		at += "?fieldManager=rollcall-agent"
	}
	r, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	token, err := p.server.token()
	if err != nil {
		return nil, err
	}
	client, err := p.server.connection()
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "rollcall-agent")
	if body != nil {
		r.Header.Set("Content-Type", patchType)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the API server is not reached: %w", err)
	}
	defer answer.Body.Close()
	text, err := readBounded(answer.Body, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("the answer of the API server was not read: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, p.failure(answer, text)
	}
	var o object
	if err := json.Unmarshal(text, &o); err != nil || o.Kind != "Pod" || o.Metadata.UID == "" {
		return nil, errors.New("the API server does not answer with a pod")
	}
	if o.Metadata.UID != p.uid {
		return nil, errGone
	}
	return &o, nil
}

// failure makes an error of an answer. Only a 404 that Kubernetes gives for this pod means that the pod is gone: one of a
// proxy does not.
func (p *Pod) failure(answer *http.Response, text []byte) error {
	e := &answerError{code: answer.StatusCode, retryAfter: retryAfter(answer.Header.Get("Retry-After"))}
	if t, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); t != "application/json" {
		return e
	}
	var s struct {
		Kind    string `json:"kind"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Details struct {
			Name string `json:"name"`
			Kind string `json:"kind"`
		} `json:"details"`
	}
	if json.Unmarshal(text, &s) != nil || s.Kind != "Status" {
		return e
	}
	e.reason, e.message = s.Reason, shorten(s.Message)
	if e.code == http.StatusNotFound && s.Reason == "NotFound" && s.Details.Kind == "pods" && s.Details.Name == p.name {
		return errGone
	}
	return e
}

// retryAfter reads the header, which has a number of seconds in answers of Kubernetes.
func retryAfter(h string) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(h), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxRetryAfter)
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, err
}

// server is Kubernetes' API server. Kubernetes replaces the files of the service account while a pod runs, so they are
// read for every request.
type server struct {
	url, dir string

	mu          sync.Mutex // guards what follows
	authorities []byte     // what ca.crt had
	client      *http.Client
}

func newServer(url, dir string) *server { return &server{url: url, dir: dir} }

func (s *server) token() (string, error) {
	path := filepath.Join(s.dir, "token")
	b, err := readSmall(path)
	if err != nil {
		return "", fmt.Errorf("the token of the service account: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the token of the service account: %s is empty or no token", path)
	}
	return token, nil
}

// connection returns a client that trusts the authorities that ca.crt has now.
//
// It speaks HTTP/1.1: a connection that has gone dead without a word is closed with the request that times out on it,
// while one of HTTP/2 would be used again. A redirect is not followed: the token goes to this server only.
func (s *server) connection() (*http.Client, error) {
	path := filepath.Join(s.dir, "ca.crt")
	b, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("the authorities of the API server: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil && slices.Equal(b, s.authorities) {
		return s.client, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("the authorities of the API server: %s has no certificate", path)
	}
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	s.authorities = b
	s.client = &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: requestTimeout}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: pool},
			TLSHandshakeTimeout: requestTimeout,
			Protocols:           protocols,
			MaxIdleConnsPerHost: 1,
			IdleConnTimeout:     idleTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s.client, nil
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
}
