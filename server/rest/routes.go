package rest

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// methods are those that a path may take.
var methods = []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete}

// newRoutes returns what finds the route of a request. It is grpc-gateway's, without all that reads anything but the
// path (see conn).
func (h *Handler) newRoutes() http.Handler {
	mux := runtime.NewServeMux(
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithMarshalerOption(runtime.MIMEWildcard, marshaler{}),
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingHeaderMatcher(func(key string) (string, bool) { return key, strings.HasPrefix(key, metadataPrefix) }),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMiddlewares(h.middleware),
		runtime.WithErrorHandler(func(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
			if md, ok := runtime.ServerMetadataFromContext(ctx); ok {
				for key, values := range md.HeaderMD {
					if strings.HasPrefix(key, metadataPrefix) {
						w.Header()[http.CanonicalHeaderKey(key)] = values
					}
				}
			}
			WriteError(w, r, err)
		}),
		runtime.WithRoutingErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, _ int) {
			if probeOf(r.Context()) == nil {
				h.unrouted(w, r)
			}
		}),
	)
	n := &conn{h}
	for _, err := range []error{
		restv1.RegisterAdminHandlerClient(context.Background(), mux, rollcallv1.NewAdminClient(n)),
		restv1.RegisterRegistryHandlerClient(context.Background(), mux, rollcallv1.NewRegistryClient(n)),
		restv1.RegisterClusterHandlerClient(context.Background(), mux, rollcallv1.NewClusterClient(n)),
		restv1.RegisterAccessHandlerClient(context.Background(), mux, rollcallv1.NewAccessClient(n)),
		mux.HandlePath(http.MethodPost, "/api/v1/leases/{lease_id}:renew", h.renew),
		mux.HandlePath(http.MethodGet, documentPath, h.document),
	} {
		if err != nil {
			panic(err) // a pattern is wrong: every test of the package finds it
		}
	}
	for path, stream := range h.cfg.Streams {
		if err := mux.HandlePath(http.MethodGet, path, func(w http.ResponseWriter, r *http.Request, _ map[string]string) { h.stream(w, r, stream) }); err != nil {
			panic(err)
		}
	}
	return mux
}

// route has the route of a request answer it.
func (h *Handler) route(c *call, r *http.Request) {
	method := r.Method
	switch method {
	case http.MethodOptions:
		h.options(c, r)
		return
	case http.MethodHead:
		method = http.MethodGet // net/http leaves the body out
	}
	c.write = method != http.MethodGet
	h.routes.ServeHTTP(whole{c.out}, bare(r, r.Context(), method))
}

// bare is a request without anything but its path: all that grpc-gateway may look at.
func bare(r *http.Request, ctx context.Context, method string) *http.Request {
	u := &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}
	return (&http.Request{Method: method, URL: u, Header: http.Header{}, Body: http.NoBody}).WithContext(ctx)
}

// whole is an answer that grpc-gateway writes, which it does at once.
type whole struct{ *answer }

// Write implements http.ResponseWriter. A client that does not read, or has left, is no error of this node's.
func (w whole) Write(p []byte) (int, error) {
	_ = w.send(http.StatusOK, p)
	return len(p), nil
}

// middleware stands before every route.
func (h *Handler) middleware(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
		if p := probeOf(r.Context()); p != nil {
			p.found = true
			return
		}
		c := callOf(r.Context())
		if pattern, ok := runtime.HTTPPattern(r.Context()); ok {
			c.route = r.Method + " " + strings.ReplaceAll(pattern.String(), "=**}", "}")
		}
		c.path = path
		ctx, err := h.take(r.Context(), c)
		r = r.WithContext(ctx)
		if err != nil {
			WriteError(w, r, err)
			return
		}
		next(w, r, path)
	}
}

// take takes a request in whose route is known: it returns the context of the call, or why there is none.
func (h *Handler) take(ctx context.Context, c *call) (context.Context, error) {
	if md := metadataOf(c.req.Header); len(md) > 0 {
		if err := checkHeaders(md); err != nil {
			return ctx, err
		}
	}
	ctx = Caller(c.req.WithContext(ctx))
	if err := h.admit(ctx, c); err != nil {
		return ctx, err
	}
	if !c.write {
		return ctx, nil
	}
	return ctx, c.readBody()
}

// unrouted answers a request without a route.
func (h *Handler) unrouted(w http.ResponseWriter, r *http.Request) {
	if allowed := h.allowed(r); len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		WriteError(w, r, refuse(http.StatusMethodNotAllowed, codes.Unimplemented, ReasonMethod,
			"%s is not possible at %s; possible: %s", rpcerror.QuoteShort(callOf(r.Context()).req.Method), rpcerror.QuoteShort(r.URL.EscapedPath()), strings.Join(allowed, ", ")))
		return
	}
	WriteError(w, r, refuse(http.StatusNotFound, codes.NotFound, ReasonNoRoute,
		"there is nothing at %s; GET /api/v1/openapi.json says what there is", rpcerror.QuoteShort(r.URL.EscapedPath())))
}

// options answers what a path takes. It says nothing to pages of other sites (CORS): they get nothing here.
func (h *Handler) options(c *call, r *http.Request) {
	allowed := h.allowed(r)
	if len(allowed) == 0 {
		h.unrouted(c.out, r)
		return
	}
	c.out.Header().Set("Allow", strings.Join(allowed, ", "))
	c.out.WriteHeader(http.StatusNoContent)
}

// allowed returns the methods that the path of a request takes.
func (h *Handler) allowed(r *http.Request) (all []string) {
	for _, method := range methods {
		p := &probe{}
		h.routes.ServeHTTP(nowhere{}, bare(r, context.WithValue(r.Context(), probeKey{}, p), method))
		if !p.found {
			continue
		}
		if all = append(all, method); method == http.MethodGet {
			all = append(all, http.MethodHead)
		}
	}
	if len(all) > 0 {
		all = append(all, http.MethodOptions)
	}
	return all
}

// probe finds out whether there is a route, and does nothing there.
type probe struct{ found bool }

type probeKey struct{}

func probeOf(ctx context.Context) *probe {
	p, _ := ctx.Value(probeKey{}).(*probe)
	return p
}

type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// stream has a stream answer the request as it came.
func (h *Handler) stream(_ http.ResponseWriter, r *http.Request, stream http.Handler) {
	c := callOf(r.Context())
	if hasBody(c.req) {
		WriteError(c.out, r, &apijson.Error{Field: "body", Message: "a GET has none; give the fields as query parameters"})
		return
	}
	stream.ServeHTTP(c.out, c.req.WithContext(r.Context()))
}

// marshaler writes answers as JSON. It reads nothing: conn does that.
type marshaler struct{}

func (marshaler) ContentType(any) string { return "application/json" }

func (marshaler) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return apijson.Marshal(v)
	}
	b, err := apijson.Append(make([]byte, 0, jsonGrowth*proto.Size(m)+64), m)
	return append(b, '\n'), err
}

func (marshaler) Unmarshal([]byte, any) error { return nil }

func (marshaler) NewDecoder(io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(any) error { return io.EOF })
}

func (marshaler) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		b, err := marshaler{}.Marshal(v)
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	})
}
