package clock

import (
	"fmt"
	"io"
	"net"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

const (
	// ask is the byte that asks for a reading.
	ask = 1
	// idleTimeout ends a connection over which nobody has asked for this long.
	idleTimeout = 12 * MeasureEvery
)

// Serve answers who asks over conn until the connection ends, and closes it. add is called for each answer before it is
// sent, and may add to it.
func (c *Clock) Serve(conn net.Conn, add func(*peerv1.ClockReading)) {
	defer conn.Close()
	question := make([]byte, 1)
	for {
		if conn.SetDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
		if _, err := io.ReadFull(conn, question); err != nil || question[0] != ask {
			return
		}
		r := c.Read()
		answer := &peerv1.ClockReading{Wall: r.Wall, LogTime: r.LogTime, Leads: r.Leads}
		add(answer)
		b, err := answer.MarshalVT()
		if err != nil || len(b) > 255 {
			return
		}
		if _, err := conn.Write(append([]byte{byte(len(b))}, b...)); err != nil {
			return
		}
	}
}

// Measure asks the member at the other end of conn once, notes what it answers, and returns it. After an error the
// connection is of no use any more.
func (c *Clock) Measure(member string, conn net.Conn) (*peerv1.ClockReading, error) {
	if err := conn.SetDeadline(time.Now().Add(2 * maxRoundTrip)); err != nil {
		return nil, err
	}
	sent := c.cfg.Lived()
	if _, err := conn.Write([]byte{ask}); err != nil {
		return nil, err
	}
	b := make([]byte, 255)
	if _, err := io.ReadFull(conn, b[:1]); err != nil {
		return nil, err
	}
	b = b[:b[0]]
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	r := &peerv1.ClockReading{}
	if err := r.UnmarshalVT(b); err != nil {
		return nil, fmt.Errorf("reading of the clock of %s: %w", member, err)
	}
	c.Note(member, Reading{Wall: r.GetWall(), LogTime: r.GetLogTime(), Leads: r.GetLeads()}, sent)
	return r, nil
}
