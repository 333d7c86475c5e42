package rest

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/httpserver"
	"github.com/rollcallhq/rollcall/server/rpcerror"
	"github.com/rollcallhq/rollcall/tlsport"
)

// metadataPrefix begins the keys of metadata, and the headers, that mean something to Rollcall.
const metadataPrefix = "rollcall-"

// Caller returns the context of a call that the sender of a request makes: its address and certificate as the peer, and
// its token and the headers that begin with Rollcall- as the metadata. Nothing else of the request gets into it.
func Caller(r *http.Request) context.Context {
	ctx := r.Context()
	if _, has := peer.FromContext(ctx); !has {
		ctx = peer.NewContext(ctx, peerOf(r))
	}
	if md := metadataOf(r.Header); len(md) > 0 {
		ctx = metadata.NewIncomingContext(ctx, md)
	}
	return ctx
}

func metadataOf(header http.Header) (md metadata.MD) {
	for key, values := range header {
		key = strings.ToLower(key)
		if key != "authorization" && !strings.HasPrefix(key, metadataPrefix) || key == strings.ToLower(TimeoutHeader) {
			continue
		}
		if md == nil {
			md = make(metadata.MD, 1)
		}
		md[key] = append(md[key], values...)
	}
	return md
}

// checkHeaders refuses what gRPC would not let pass as metadata.
func checkHeaders(md metadata.MD) error {
	for key, values := range md {
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
				return rpcerror.Invalid(rpcerror.Violation{Field: rpcerror.QuoteShort(key), Description: "may have printable ASCII characters only"})
			}
		}
	}
	return nil
}

// peerOf is who sent a request.
func peerOf(r *http.Request) *peer.Peer {
	p := &peer.Peer{}
	c := httpserver.Connection(r.Context())
	if c == nil {
		// The request did not come over the port of a node.
		if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			p.Addr = net.TCPAddrFromAddrPort(at)
		}
		return p
	}
	p.Addr = c.RemoteAddr()
	if secured, ok := c.(interface{ Info() *tlsport.Info }); ok {
		p.AuthInfo = secured.Info()
	}
	return p
}
