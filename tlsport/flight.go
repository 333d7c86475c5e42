package tlsport

import (
	"errors"
	"net"
)

// What the other side may send before it is answered, or in its answer, in bytes: it stays in memory until it is whole.
const (
	maxHelloBytes  = 8 << 10  // a hello has about 2 KiB
	maxAnswerBytes = 32 << 10 // a chain of certificates has a few KiB
	// freeBytes are what each handshake may have in memory. What is above counts against maxLargeBytes, which all
	// handshakes of a process share.
	freeBytes     = 4 << 10
	maxLargeBytes = 4 << 20
)

var errTooLarge = errors.New("the other side sends too much during the TLS handshake")

const (
	recordHeader    = 5 // type, version, length
	handshakeHeader = 4 // type, length
	clientHello     = 1
	// firstRead is how much is read before the length is known. Up to usualHello bytes there is room before they come.
	firstRead  = 512
	usualHello = 2 << 10
)

// flight is a connection during its handshake. It hands on whole records only: crypto/tls would make room for as much
// as a record says that it has. After the handshake it hands on all.
type flight struct {
	net.Conn
	handshake *handshake
	buffer    []byte // was read, and is not handed on
	whole     int    // bytes of buffer that may be handed on
	read      int    // bytes since this side has written
	limit     int    // of read
	over      bool   // the handshake is
}

// hello waits until the ClientHello is whole, or cannot be one: then crypto/tls says what is wrong with it.
func (f *flight) hello() error {
	payload, want := 0, handshakeHeader // bytes of the message: read, and in all
	for payload < want {
		begin := f.whole
		if err := f.record(); err != nil {
			return err
		}
		record := f.buffer[begin:f.whole]
		if record[0] != firstTLSByte {
			return nil
		}
		if n := len(record) - recordHeader; payload == 0 && n >= handshakeHeader {
			message := record[recordHeader:]
			if message[0] != clientHello {
				return nil
			}
			want += int(message[1])<<16 | int(message[2])<<8 | int(message[3])
		} else if payload == 0 {
			return nil // crypto/tls could read such a hello, but no client sends it
		}
		payload += len(record) - recordHeader
	}
	return nil
}

// record reads until one more record may be handed on.
func (f *flight) record() error {
	for {
		rest := f.buffer[f.whole:]
		length := recordHeader
		if len(rest) >= recordHeader {
			length += int(rest[3])<<8 | int(rest[4])
		}
		if len(rest) >= recordHeader && len(rest) >= length {
			f.whole += length
			return nil
		}
		room := firstRead
		if len(rest) >= recordHeader {
			room = min(length-len(rest), max(usualHello, len(f.buffer)))
		}
		if err := f.more(room); err != nil {
			return err
		}
	}
}

// more reads n bytes at most.
func (f *flight) more(n int) error {
	if free := cap(f.buffer) - len(f.buffer); free < n {
		f.buffer = append(make([]byte, 0, len(f.buffer)+n), f.buffer...)
	}
	n, err := f.Conn.Read(f.buffer[len(f.buffer) : len(f.buffer)+n])
	f.buffer = f.buffer[:len(f.buffer)+n]
	if f.read += n; f.read > f.limit {
		return errTooLarge
	}
	if f.read > freeBytes && !f.handshake.charge(min(n, f.read-freeBytes)) {
		return errCrowded
	}
	if n > 0 {
		return nil
	}
	return err
}

// charge counts bytes above those that are free. It returns false if there are too many of them.
func (s *handshake) charge(n int) bool {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.all.large+n > maxLargeBytes || s.stage == over {
		return false
	}
	s.all.large += n
	s.large += n
	return true
}

// Read implements net.Conn.
func (f *flight) Read(b []byte) (int, error) {
	switch {
	case f.over && len(f.buffer) == 0:
		return f.Conn.Read(b)
	case f.over:
		f.whole = len(f.buffer)
	case f.whole == 0:
		if err := f.record(); err != nil {
			return 0, err
		}
	}
	n := copy(b, f.buffer[:f.whole])
	f.buffer, f.whole = f.buffer[n:], f.whole-n
	if len(f.buffer) == 0 {
		f.buffer = nil
	}
	return n, nil
}

// Write implements net.Conn.
func (f *flight) Write(b []byte) (int, error) {
	n, err := f.Conn.Write(b)
	if !f.over {
		f.read, f.limit = 0, maxAnswerBytes
		f.handshake.wasAnswered()
	}
	return n, err
}
