package rest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// knownHost says whether a request calls this node by a name that belongs to it. A page of a stranger can have a name of
// his lead to this node's address, and the browser then takes both for one site (DNS rebinding). The name that the page
// was loaded from stands in the request's Host all the same.
func (h *Handler) knownHost(r *http.Request) bool {
	name := hostName(r.Host)
	switch {
	case name == "":
		return false
	case name == "localhost", strings.HasSuffix(name, ".localhost"):
		return true // they lead to this machine, whatever a name server says (RFC 6761)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true // no name was asked for
	}
	return h.cfg.KnownHost != nil && h.cfg.KnownHost(name)
}

// hostName is the name in a request's Host: in lower case, without the port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
