package resolver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/resolver"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

// The schemes of targets.
const (
	scheme      = "rollcall"       // rollcall:///SERVICE: New
	nodesScheme = "rollcall-nodes" // rollcall-nodes:///HOST:PORT,HOST:PORT: NewNodes
)

// serviceOf returns the SERVICE of a target.
func serviceOf(t resolver.Target) (string, error) {
	service, err := path(t.URL, scheme+":///SERVICE")
	if err != nil {
		return "", err
	}
	if err := limits.Name(service); err != nil {
		return "", fmt.Errorf("resolver: the service %s", err.Error())
	}
	if strings.HasSuffix(service, "/") {
		return "", fmt.Errorf("resolver: the service %q ends with '/'; instances are found without it", service)
	}
	// Its instances are named SERVICE/HOST:PORT.
	if shortest := len("/h:1"); len(service)+shortest > limits.MaxNameBytes {
		return "", fmt.Errorf("resolver: the service is %d bytes long; no name of an instance has room in %d", len(service), limits.MaxNameBytes)
	}
	return service, nil
}

// nodesOf returns the addresses of a target.
func nodesOf(t resolver.Target) ([]string, error) {
	list, err := path(t.URL, nodesScheme+":///HOST:PORT,HOST:PORT")
	if err != nil {
		return nil, err
	}
	nodes := strings.Split(list, ",")
	for i, node := range nodes {
		if err := checkAddress(node); err != nil {
			return nil, fmt.Errorf("resolver: the node %q %w", node, err)
		}
		if slices.Contains(nodes[:i], node) {
			return nil, fmt.Errorf("resolver: the node %q is listed twice", node)
		}
	}
	return nodes, nil
}

// path returns what stands behind the third slash, of a target that has nothing else.
func path(u url.URL, form string) (string, error) {
	written := u.RawPath
	if written == "" { // then the path is written as Go would
		written = u.EscapedPath()
	}
	var problem string
	switch {
	case u.Opaque != "":
		problem = "has no slashes"
	case u.Host != "" || u.User != nil:
		problem = fmt.Sprintf("names an authority, %q, between the second slash and the third", u.Host)
	case u.RawQuery != "" || u.ForceQuery:
		problem = fmt.Sprintf("has a query, ?%s", u.RawQuery)
	case u.Fragment != "":
		problem = fmt.Sprintf("has a fragment, #%s", u.EscapedFragment())
	case strings.Contains(written, "%"):
		problem = "has an escape, '%'; names stand in it as they are"
	case strings.TrimPrefix(u.Path, "/") == "":
		problem = "names nothing"
	default:
		return strings.TrimPrefix(u.Path, "/"), nil
	}
	return "", fmt.Errorf("resolver: the target %s %s; its form is %s", u.Redacted(), problem, form)
}

// checkAddress says why a text is not the address of one process that others can reach: HOST:PORT, where an IPv6
// address stands in brackets and the port is a number from 1 to 65535.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("is not HOST:PORT")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return errors.New("has a port that is not a number from 1 to 65535")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return errors.New("has a host that is not one machine's")
		}
		return nil
	}
	switch {
	case host == "":
		return errors.New("has no host")
	case host == "unix": // gRPC would take the port for the name of a socket
		return errors.New("has a host that gRPC takes for something else")
	case strings.ContainsFunc(host, notInHosts) || strings.HasPrefix(host, "-"):
		return errors.New("has a host that is neither an IP address nor a name")
	}
	return nil
}

// notInHosts tells characters that no name of a host has, as it stands in the DNS.
func notInHosts(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
		return false
	}
	return true
}
