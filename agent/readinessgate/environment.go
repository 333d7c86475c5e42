package readinessgate

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultServiceAccount is the directory where Kubernetes puts the token of a pod, the certificates of the authority
// that signed the API server's, and the pod's namespace: the files token, ca.crt and namespace.
const DefaultServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// Places are where the agent finds who it is and how it reaches the API server.
type Places struct {
	ServiceAccount string // directory; "": DefaultServiceAccount
	// PodInfo is a directory with the files name, uid and, if the directory of ServiceAccount has none, namespace: a
	// volume of Kubernetes' downward API. "": the variables POD_NAME, POD_UID and POD_NAMESPACE.
	PodInfo string
	Getenv  func(string) string // nil: os.Getenv
}

// pod is which pod the agent runs in.
type pod struct{ namespace, name, uid string }

func (p pod) String() string { return p.namespace + "/" + p.name }

// Find finds the API server and the pod. It reads files and connects to nothing.
func Find(p Places) (*Pod, error) {
	if p.Getenv == nil {
		p.Getenv = os.Getenv
	}
	if p.ServiceAccount == "" {
		p.ServiceAccount = DefaultServiceAccount
	}
	host, port := p.Getenv("KUBERNETES_SERVICE_HOST"), p.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("readiness_gate works only in a pod of Kubernetes: KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("KUBERNETES_SERVICE_PORT is %q; it must be a port", port)
	}
	if strings.ContainsAny(host, "/?#@ ") {
		return nil, fmt.Errorf("KUBERNETES_SERVICE_HOST is %q; it must be an address", host)
	}
	var own pod
	var err error
	for _, f := range []struct {
		to             *string
		variable, file string
		valid          func(string) bool
	}{
		{&own.name, "POD_NAME", "name", isName},
		{&own.namespace, "POD_NAMESPACE", "namespace", isName},
		{&own.uid, "POD_UID", "uid", isUID},
	} {
		var from string
		if *f.to, from, err = p.find(f.variable, f.file); err != nil {
			return nil, err
		}
		if !f.valid(*f.to) {
			return nil, fmt.Errorf("%s is %q, which is no %s of a pod", from, *f.to, f.file)
		}
	}
	s := newServer("https://"+net.JoinHostPort(strings.Trim(host, "[]"), port), p.ServiceAccount)
	if _, err := s.connection(); err != nil { // says now what would never work
		return nil, err
	}
	if _, err := s.token(); err != nil {
		return nil, err
	}
	return &Pod{pod: own, server: s}, nil
}

// find returns a value and where it was found.
func (p Places) find(variable, file string) (value, from string, err error) {
	if p.PodInfo != "" {
		from = filepath.Join(p.PodInfo, file)
		b, err := readSmall(from)
		if err == nil {
			return strings.TrimSpace(string(b)), from, nil
		}
		if file != "namespace" || !errors.Is(err, os.ErrNotExist) {
			return "", from, err
		}
	} else if value = p.Getenv(variable); value != "" {
		return value, variable, nil
	}
	if file == "namespace" {
		from = filepath.Join(p.ServiceAccount, file)
		b, err := readSmall(from)
		return strings.TrimSpace(string(b)), from, err
	}
	return "", variable, fmt.Errorf("%s is not set; in the manifest, set it from the field metadata.%s", variable, file)
}

// isName reports whether s can be the name of a pod or a namespace, and so a part of a path.
func isName(s string) bool { return len(s) <= maxPrefix && prefixes.MatchString(s) }

// isUID reports whether s can be the uid of an object. It says no more of it, because Kubernetes does not.
func isUID(s string) bool {
	return s != "" && len(s) <= maxPrefix && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, maxFile)
}
