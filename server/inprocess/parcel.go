package inprocess

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Parcel is what a handler of this server sends or answers with in place of a message, to learn when the message has
// left.
type Parcel interface {
	// Open returns the message, and what is to be called when it has left.
	Open() (m proto.Message, left func())
}

// open returns the message of what a handler sends; left is nil if nobody wants to know.
func open(v any) (m any, left func()) {
	if p, ok := v.(Parcel); ok {
		return p.Open()
	}
	return v, nil
}

// holdKey is the key of a *held.
type holdKey struct{}

// held is what is called when the answers to calls are held no more.
type held struct {
	mu   sync.Mutex // guards all
	left []func()
}

// Hold returns a context in which the answers to calls stay counted, as long as the server counts them, until release
// is called.
func Hold(ctx context.Context) (_ context.Context, release func()) {
	h := &held{}
	return context.WithValue(ctx, holdKey{}, h), h.release
}

func (h *held) release() {
	h.mu.Lock()
	left := h.left
	h.left = nil
	h.mu.Unlock()
	for _, l := range left {
		l()
	}
}

// hold keeps left for release; false if nobody will call that.
func hold(ctx context.Context, left func()) bool {
	h, ok := ctx.Value(holdKey{}).(*held)
	if ok {
		h.mu.Lock()
		h.left = append(h.left, left)
		h.mu.Unlock()
	}
	return ok
}

// move has into, a new message, be from. Both share the memory below.
func move(into, from any) error {
	to, ok := into.(proto.Message)
	if !ok {
		return notMessage(into)
	}
	m, ok := from.(proto.Message)
	if !ok {
		return notMessage(from)
	}
	a, b := to.ProtoReflect(), m.ProtoReflect()
	if a.Descriptor() != b.Descriptor() {
		return status.Errorf(codes.Internal, "the message is a %s, and a %s is needed", b.Descriptor().FullName(), a.Descriptor().FullName())
	}
	b.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		a.Set(field, value)
		return true
	})
	if unknown := b.GetUnknown(); len(unknown) > 0 {
		a.SetUnknown(unknown)
	}
	return nil
}

func notMessage(v any) error {
	return status.Error(codes.Internal, fmt.Sprintf("%T is no message", v))
}
