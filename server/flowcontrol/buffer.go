package flowcontrol

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

const (
	// tracked is the smallest capacity of a buffer that gRPC gives back to its pool after sending it.
	tracked = 4 << 10
	// pooled is the capacity of the largest buffer that is taken from gRPC's pool. The pool's next size is 1
	// MiB, far too much for a page of 40 KiB.
	pooled = 32 << 10
)

// encode marshals m into a buffer that gRPC gives back to the pool of mem.NewBuffer.
func encode(m proto.Message) (*[]byte, error) {
	size := proto.Size(m)
	var buf *[]byte
	if size <= pooled {
		buf = mem.DefaultBufferPool().Get(max(size, tracked))
	} else {
		exact := make([]byte, size)
		buf = &exact
	}
	data, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buf)[:0], m)
	if err != nil {
		recycle(buf)
		return nil, err
	}
	*buf = data
	return buf, nil
}

// recycle takes back a buffer of encode.
func recycle(buf *[]byte) {
	if cap(*buf) <= pooled {
		mem.DefaultBufferPool().Put(buf)
	}
}
