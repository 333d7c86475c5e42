package checks

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// readymade is what the ready-made checks of this package have in common.
type readymade struct {
	name        string
	err         error // what is wrong with the constructor's arguments
	nonCritical bool
	run         func(context.Context) error
}

func (r *readymade) Name() string { return r.name }

func (r *readymade) Check(ctx context.Context) error {
	if r.err != nil {
		return r.err
	}
	return r.run(ctx)
}

// Validate says what is wrong with the arguments that the check was made with; nil if nothing is. Runner.Add calls it.
func (r *readymade) Validate() error { return r.err }

// NonCriticalByDefault is true for checks of another host, which many instances ask at the same time.
func (r *readymade) NonCriticalByDefault() bool { return r.nonCritical }

// apply applies the options of a constructor. It tells that one is nil.
func apply[C any, O ~func(C)](c C, opts []O) error {
	for _, opt := range opts {
		if opt == nil {
			return errors.New("an option is nil")
		}
		opt(c)
	}
	return nil
}

// hostPort tells what is wrong with an address to connect to; nil for a host and a port from 1 to 65535.
func hostPort(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || strings.ContainsAny(host, " /@") {
		return errors.New("the address must be HOST:PORT, with brackets around an IPv6 address")
	}
	return portNumber(port)
}

func portNumber(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port must be a number from 1 to 65535")
	}
	return nil
}

// otherHost is whether host, a name or an IP address, is surely or possibly another machine.
func otherHost(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.Unmap().IsLoopback() && !ip.IsUnspecified()
}

// span writes a duration as people read it: no more digits than matter, no unit that is zero.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "-" + span(-max(d, -math.MaxInt64)) // the least Duration has no opposite
	case d >= 2*day:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d >= time.Minute:
		s := d.Round(time.Second).String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		return s
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(time.Millisecond).String()
	default:
		return d.String()
	}
}
