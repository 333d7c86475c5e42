package receive

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// headerBytes precede each message: whether it is compressed, and its length.
const headerBytes = 5

// request is one request while it is received.
type request struct {
	limits  *Limits
	ctx     context.Context
	from    transportStream
	header  [headerBytes]byte
	decode  func(any) error // gRPC's own
	receive func(any) error // receiveRequest: made once for many requests

	counted bool // limits know of the request

	// Guarded by Limits.mu.
	cut          bool // the request was cut off
	connection   *connection
	client       *peer.Peer
	bytes        int64
	older, newer *request // of the connection
}

// receiveRequest receives the only request of a call.
func (q *request) receiveRequest(m any) error {
	if q.from == nil {
		return q.decode(m)
	}
	return q.limits.receive(q, m, true)
}

// receive receives a message. only says that the client sends no other one. The error is a status, or io.EOF
// if no message comes.
//
// A stream of many messages waits for most of its life. So a message of one is a request from its header on;
// whoever opens the stream bounds how many there are.
func (l *Limits) receive(q *request, m any, only bool) error {
	if !only {
		if err := q.readHeader(only); err != nil {
			return err
		}
	}
	q.counted = l.active.Add(1) > uncounted
	err := q.read(m, only)
	l.active.Add(-1)
	if q.counted {
		if cut := l.done(q); cut != nil {
			err = cut
		}
	}
	return err
}

func (q *request) readHeader(only bool) error {
	err := q.from.ReadMessageHeader(q.header[:])
	if err == io.EOF && only {
		return status.Error(codes.Internal, "the call has no request")
	}
	return asStatus(err)
}

// take counts bytes that the request holds until it has been received.
func (q *request) take(bytes int64) error {
	q.counted = true
	return q.limits.take(q, bytes)
}

func (q *request) read(m any, only bool) error {
	if q.counted {
		if err := q.take(callBytes); err != nil {
			return err
		}
	}
	if only {
		if err := q.readHeader(only); err != nil {
			return err
		}
	}
	size := binary.BigEndian.Uint32(q.header[1:])
	if int64(size) > int64(q.limits.maxMessage) {
		return status.Errorf(codes.ResourceExhausted, "the request has %d bytes; it may have %d", size, q.limits.maxMessage)
	}
	data, err := q.body(int(size))
	if err == nil && q.header[0] != 0 {
		data, err = q.inflate(data)
	}
	if err != nil {
		return asStatus(err)
	}
	defer func() { data.Free() }()
	if only {
		switch err := q.from.ReadMessageHeader(q.header[:]); {
		case err == nil:
			return status.Error(codes.Internal, "the call has more than one request")
		case err != io.EOF:
			return asStatus(err)
		}
	}
	if length := data.Len(); length > smallRequest {
		if err := q.take(int64(length)); err != nil { // for a copy in one piece
			return err
		}
		whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
		data.Free()
		data = mem.BufferSlice{whole}
		if manyFields(whole.ReadOnlyData()) {
			return status.Errorf(codes.InvalidArgument, "the request has more than %d fields", maxFields)
		}
	}
	if err := q.limits.codec.Unmarshal(data, m); err != nil {
		return status.Errorf(codes.Internal, "the request cannot be decoded: %v", err)
	}
	return nil
}

// body reads a message of size bytes.
func (q *request) body(size int) (mem.BufferSlice, error) {
	if size <= smallRequest {
		if q.counted {
			if err := q.take(int64(size) * frameCost); err != nil {
				return nil, err
			}
		}
		return q.from.Read(size)
	}
	if err := q.take(readBytes * frameCost); err != nil {
		return nil, err
	}
	out := chunks{request: q}
	for size > 0 {
		room, err := out.room()
		if err != nil {
			return nil, err
		}
		data, err := q.from.Read(min(size, len(room), readBytes))
		if err != nil {
			out.free()
			return nil, err
		}
		n := data.CopyTo(room)
		data.Free()
		out.filled(n)
		size -= n
	}
	return out.all(), nil
}

// inflate returns a compressed message as it was.
func (q *request) inflate(data mem.BufferSlice) (mem.BufferSlice, error) {
	defer data.Free()
	name := q.from.RecvCompress()
	if q.header[0] != 1 {
		return nil, status.Errorf(codes.Internal, "the request has the unknown format %d", q.header[0])
	}
	if name == "" || name == encoding.Identity {
		return nil, status.Error(codes.Internal, "the request is compressed, but the call does not say how")
	}
	compressor := encoding.GetCompressor(name)
	if compressor == nil {
		return nil, status.Errorf(codes.Unimplemented, "the request is compressed with %q; this node knows gzip", name)
	}
	from := data.Reader()
	defer from.Close()
	inflated, err := compressor.Decompress(from)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "the request cannot be inflated: %v", err)
	}
	out := chunks{request: q}
	for {
		room, err := out.room()
		if err != nil {
			return nil, err
		}
		n, err := inflated.Read(room)
		out.filled(n)
		switch {
		case out.total > q.limits.maxMessage:
			out.free()
			return nil, status.Errorf(codes.ResourceExhausted, "the request has more than %d bytes when it is inflated", q.limits.maxMessage)
		case errors.Is(err, io.EOF):
			if length := int64(data.Len()); length > smallRequest {
				q.limits.give(q, length)
			}
			return out.all(), nil
		case err != nil:
			out.free()
			return nil, status.Errorf(codes.Internal, "the request cannot be inflated: %v", err)
		}
	}
}

// chunks is a message that grows.
type chunks struct {
	*request
	full  mem.BufferSlice
	last  *[]byte // nil: the next one is not needed yet
	n     int     // bytes in last
	total int
}

// room returns where the next bytes belong, or the status of a request that must hold no more.
func (c *chunks) room() ([]byte, error) {
	if c.last == nil {
		size := readBytes // the first one, which is not counted
		if c.total > 0 {
			size = chunkBytes
			if err := c.take(chunkBytes); err != nil {
				c.free()
				return nil, err
			}
		}
		c.last, c.n = mem.DefaultBufferPool().Get(size), 0
	}
	return (*c.last)[c.n:], nil
}

// filled says that n bytes are in what room returned.
func (c *chunks) filled(n int) {
	c.n += n
	c.total += n
	if c.n == len(*c.last) {
		c.all()
	}
}

// all returns the message so far.
func (c *chunks) all() mem.BufferSlice {
	if c.last != nil {
		*c.last = (*c.last)[:c.n]
		c.full = append(c.full, mem.NewBuffer(c.last, mem.DefaultBufferPool()))
		c.last = nil
	}
	return c.full
}

func (c *chunks) free() { c.all().Free() }

// manyFields says whether a message has more than maxFields fields, not counting those of messages in it.
func manyFields(b []byte) bool {
	for fields := 0; len(b) > 0; fields++ {
		if fields == maxFields {
			return true
		}
		_, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return false // decoding it tells what is wrong
		}
		b = b[n:]
	}
	return false
}

// asStatus is the status of an error of gRPC's stream.
func asStatus(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if err == io.ErrUnexpectedEOF {
		return status.Error(codes.Internal, "the request is not complete")
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}
