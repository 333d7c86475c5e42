package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// guard keeps away who may not ask.
//
// A browser on this machine runs scripts of any page. It sends what they ask to a port of this machine, too. Two rules
// keep such pages out:
//
//   - A request that changes something must not come from a page of another origin (http.CrossOriginProtection).
//   - A page of a name that was made to point at this machine (DNS rebinding) is of the same origin for the browser. But
//     it sends its own name as Host. So a request must call this port by an address, as localhost, or by a name that
//     the agent was given. Beyond loopback everybody may read, so there this holds for browsers' pushes only.
//
// What is pushed must come from this machine: from a loopback address, or from the address that it was sent to.
type guard struct {
	remotePush bool
	hosts      []string
	origin     *http.CrossOriginProtection
}

func newGuard(o Options) *guard {
	g := &guard{remotePush: o.AllowRemotePush, origin: http.NewCrossOriginProtection()}
	for _, h := range o.Hosts {
		g.hosts = append(g.hosts, strings.ToLower(h))
	}
	return g
}

// refuse returns why a request is refused; 0 if it is not.
func (g *guard) refuse(r *http.Request) (code int, why string) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if host := hostOf(r.Host); !g.known(host) {
		browser := r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != ""
		if local(r) || browser && !reads {
			return http.StatusMisdirectedRequest, fmt.Sprintf("the request is for the host %q, which is not the agent's; call the agent by its address or as localhost", host)
		}
	}
	if reads {
		return 0, ""
	}
	if err := g.origin.Check(r); err != nil {
		return http.StatusForbidden, "the request comes from a page of another origin in a browser; such pages may not push"
	}
	if !g.remotePush && !fromHere(r) {
		return http.StatusForbidden, "the agent takes pushes from its own machine only; listen.allow_remote_push: true in its file allows them from others"
	}
	return 0, ""
}

// hostOf is the host of a Host header, without its port, brackets and a last dot.
func hostOf(header string) string {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// known reports whether a page of this host can only be the agent's own. HTTP/1.0 needs no host, and browsers do not
// speak it.
func (g *guard) known(host string) bool {
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(g.hosts, host) {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// local reports whether a request came to a loopback address.
func local(r *http.Request) bool {
	ip := localIP(r)
	return !ip.IsValid() || ip.IsLoopback()
}

// fromHere reports whether a request came from this machine: no packet of another one has this machine's address.
func fromHere(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := peer.Addr().Unmap()
	return ip.IsLoopback() || ip == localIP(r)
}

// localIP is the address that a request came to; not valid if it is not known.
func localIP(r *http.Request) netip.Addr {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return at.AddrPort().Addr().Unmap()
}
