package rest

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// KnownHost says whether a request calls this node by a name that belongs to it; known is as Config.KnownHost. A page of a stranger can have a name of
// his lead to this node's address, and the browser then takes both for one site (DNS rebinding). The name that the page
// was loaded from stands in the request's Host all the same.
func KnownHost(r *http.Request, known func(name string) bool) bool {
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
	return known != nil && known(name)
}

// HostUnknown says that a request does not, and what its sender can do.
func HostUnknown(r *http.Request) string {
	return fmt.Sprintf("this node does not know %s as a name of its own, so a page of a stranger may have sent the request; use an address, show a token, or start the node with --http-host %s",
		rpcerror.QuoteShort(r.Host), shown(hostName(r.Host)))
}

// shown is a name as a command shows it.
func shown(host string) string {
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'$&;|<>()`+"`\\", r) }) {
		return "NAME"
	}
	return host
}

// hostName is the name in a request's Host: in lower case, without the port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
