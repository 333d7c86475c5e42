package main

import (
	"context"
	"io"
	"sync"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// tokenFlagName is the global flag of the caller's token. No token ever stands in an argument: every user of the
// machine can read those.
const tokenFlagName = "token-file"

func (a *app) addTokenFlag(flags *pflag.FlagSet) {
	flags.StringVar(&a.tokenFile, tokenFlagName, "", "`file` of the token that says who calls; no other user may read it. It is sent over TLS, or to this machine alone")
	cliflag.NotEmpty(flags, tokenFlagName)
}

// withToken adds to the options of connections to an endpoint what sends the caller's token with each call; nothing
// without --token-file.
func (a *app) withToken(endpoint string, options []grpc.DialOption) ([]grpc.DialOption, error) {
	cfg := client.Config{Endpoints: []string{endpoint}, TokenFile: a.tokenFile, DialOptions: options}
	token, err := cfg.TokenCredentials(endpoint)
	if token == nil || err != nil {
		return options, a.tokenFailure(err)
	}
	return append(options[:len(options):len(options)], grpc.WithPerRPCCredentials(token)), nil
}

// filteredKey is the header with which a node says that an answer leaves out what the caller may not read.
const filteredKey = "rollcall-filtered"

// filteredNote says once that answers leave out what the caller may not read.
type filteredNote struct {
	a    *app // nil: nobody is told
	once sync.Once
}

// see says so if a header does.
func (n *filteredNote) see(header metadata.MD) {
	if v := header.Get(filteredKey); len(v) == 0 || v[0] != "true" || n.a == nil || n.a.completing {
		return
	}
	n.once.Do(func() {
		const text = `only what this caller may read is shown; "rollcall whoami" says what that is`
		if !n.a.forPrograms() {
			io.WriteString(n.a.stderr, "! "+text+"\n")
			return
		}
		line, err := apijson.Marshal(struct {
			Notice  string `json:"notice"`
			Message string `json:"message"`
		}{"FILTERED", text})
		if err == nil {
			io.WriteString(n.a.stderr, string(line)+"\n")
		}
	})
}

// dialOptions make connections tell what their headers say.
func (n *filteredNote) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(n.unary), grpc.WithChainStreamInterceptor(n.stream)}
}

func (n *filteredNote) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
	var header metadata.MD
	err := invoke(ctx, method, req, reply, conn, append(o[:len(o):len(o)], grpc.Header(&header))...)
	if err == nil {
		n.see(header)
	}
	return err
}

func (n *filteredNote) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, conn, method, o...)
	if err != nil || !desc.ServerStreams || desc.ClientStreams {
		return s, err // a stream of writes: none of its answers is filtered
	}
	return &notedStream{ClientStream: s, note: n}, nil
}

// notedStream looks at the header with the first message.
type notedStream struct {
	grpc.ClientStream
	note *filteredNote
	seen bool // by RecvMsg, which one goroutine calls at a time
}

func (s *notedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil && !s.seen {
		s.seen = true
		if header, err := s.Header(); err == nil {
			s.note.see(header)
		}
	}
	return err
}
