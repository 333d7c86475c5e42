package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// DNSOption is an option of DNS.
type DNSOption func(*dnsCheck)

// DNSAddress has the check fail unless each of these IP addresses is among those that the name has.
func DNSAddress(addresses ...string) DNSOption {
	return func(c *dnsCheck) { c.expected = append(c.expected, addresses...) }
}

// DNSResolver has the check use r instead of net.DefaultResolver.
func DNSResolver(r *net.Resolver) DNSOption { return func(c *dnsCheck) { c.resolver = r } }

type dnsCheck struct {
	readymade
	host     string
	expected []string
	wanted   []netip.Addr
	resolver *net.Resolver
}

// DNS returns a check that looks host up. It fails when the name has no address, or not those of DNSAddress. With
// a dot at its end host is looked up as it is; without, the search domains of this machine count.
//
// It is not critical by default: many instances ask the same name servers.
func DNS(name, host string, opts ...DNSOption) Check {
	c := &dnsCheck{host: host, resolver: net.DefaultResolver}
	c.name, c.nonCritical, c.run = name, true, c.lookup
	if c.err = apply(c, opts); c.err == nil {
		c.err = c.validate()
	}
	return c
}

func (c *dnsCheck) validate() error {
	if c.host == "" || len(c.host) > 254 || strings.ContainsAny(c.host, " /:@") {
		return errors.New("DNS needs the name of a host, without a port or a scheme")
	}
	if _, err := netip.ParseAddr(c.host); err == nil {
		return errors.New("DNS needs the name of a host; an IP address needs no look-up")
	}
	if c.resolver == nil {
		return errors.New("DNSResolver needs a resolver; it is nil")
	}
	for _, s := range c.expected {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("DNSAddress needs IP addresses; %q is none", s)
		}
		c.wanted = append(c.wanted, ip.Unmap())
	}
	return nil
}

func (c *dnsCheck) lookup(ctx context.Context) error {
	a := begin(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found, err := c.oneRun(ctx).LookupNetIP(ctx, "ip", c.host)
	if err != nil {
		if inner := (*net.DNSError)(nil); errors.As(err, &inner) && !a.isLate(err) {
			return &wordedError{c.host + ": " + foreign(connfailure.Text(inner.Err)), err}
		}
		return a.network(c.host, err)
	}
	for i, ip := range found {
		found[i] = ip.Unmap()
	}
	if len(found) == 0 {
		return fmt.Errorf("%s has no address", c.host)
	}
	for _, ip := range c.wanted {
		if !slices.Contains(found, ip) {
			return fmt.Errorf("%s is not at %s, but at %s", c.host, ip, foreign(fmt.Sprint(found)))
		}
	}
	return nil
}

// oneRun returns a resolver like the check's for one run, whose connections are closed when ctx ends: by itself a
// Resolver goes on asking a silent name server for seconds after its caller has left.
func (c *dnsCheck) oneRun(ctx context.Context) *net.Resolver {
	dial := c.resolver.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &net.Resolver{
		PreferGo:     c.resolver.PreferGo,
		StrictErrors: c.resolver.StrictErrors,
		Dial: func(_ context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() })
			}
			return conn, err
		},
	}
}
