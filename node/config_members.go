package node

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/tlsport"
)

// maxSeeds is beyond what any cluster has.
const maxSeeds = 32

// validateJoin checks what is given of a node that joins, or that nothing of it is.
func (c Config) validateJoin() error {
	if len(c.Join) == 0 {
		switch {
		case c.Replica:
			return errors.New("--replica is for a node that is added to a cluster: give --join, with the peer addresses of members")
		case c.AdvertiseAPI != "" || c.AdvertisePeer != "":
			return errors.New("--advertise-api and --advertise-peer are for a node that is added to a cluster: give --join, with the peer addresses of members; --member has both addresses of a node")
		}
		return nil
	}
	switch {
	case len(c.Members) > 0:
		return errors.New("--join and --member are both given: --member forms a new cluster of the nodes that are listed, --join waits to be added to one that runs")
	case c.ForceBootstrap:
		return errors.New("--join and --force-bootstrap are both given: a node that joins never forms a cluster")
	case c.AdvertiseAPI == "" || c.AdvertisePeer == "":
		return errors.New("--join needs --advertise-api and --advertise-peer: the addresses at which clients and members find this node")
	case len(c.Join) > maxSeeds:
		return fmt.Errorf("%d addresses to join given; at most %d are allowed, and all members but one may be left out", len(c.Join), maxSeeds)
	case !limits.NodeName(c.Name):
		return fmt.Errorf("node name %q is not allowed; use %s", c.Name, limits.NodeNameRule)
	case c.AdvertiseAPI == c.AdvertisePeer:
		return fmt.Errorf("--advertise-api and --advertise-peer are both %s", c.AdvertiseAPI)
	}
	for i, address := range c.Join {
		// What is dialed may be anywhere: this node's own ports are what --insecure is about.
		if err := c.checkAddressForm("address of --join", address); err != nil {
			return err
		}
		if slices.Contains(c.Join[:i], address) {
			return fmt.Errorf("address of --join %s is given twice", address)
		}
	}
	if err := c.checkAdvertised("--advertise-api", c.AdvertiseAPI, "--api-listen"); err != nil {
		return err
	}
	return c.checkAdvertised("--advertise-peer", c.AdvertisePeer, "--peer-listen")
}

// checkAdvertised checks an address at which others are to find this node. listen is the flag for where it listens.
func (c Config) checkAdvertised(flag, address, listen string) error {
	what := "address of " + flag
	if err := c.checkAddress(what, address); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(address)
	if n, _ := strconv.ParseUint(port, 10, 16); n == 0 {
		return fmt.Errorf("%s %q: its port must be a number from 1 to 65535", what, address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%s %q is where a node can listen, but nobody can reach it; give the address of its machine; %s says where it listens", what, address, listen)
	}
	return nil
}

func (c Config) validateMembers() error {
	if len(c.Join) > 0 {
		return nil
	}
	if len(c.Members) == 0 {
		return errors.New("no members given")
	}
	if len(c.Members) > maxMembers {
		return fmt.Errorf("%d members given; at most %d are supported, and 3 or 5 are sensible", len(c.Members), maxMembers)
	}
	names := map[string]bool{}
	addresses := map[string]string{}
	for _, m := range c.Members {
		if !limits.NodeName(m.Name) {
			return fmt.Errorf("member name %q is not allowed; use %s", m.Name, limits.NodeNameRule)
		}
		if names[m.Name] {
			return fmt.Errorf("member %s is listed twice", m.Name)
		}
		names[m.Name] = true
		for _, a := range []struct{ what, address string }{
			{"API address", m.APIAddress},
			{"peer address", m.PeerAddress},
		} {
			what := fmt.Sprintf("%s of member %s", a.what, m.Name)
			if err := c.checkAddress(what, a.address); err != nil {
				return err
			}
			if other, ok := addresses[a.address]; ok {
				return fmt.Errorf("%s, %s, is the %s too", what, a.address, other)
			}
			addresses[a.address] = what
		}
	}
	return nil
}

func (c Config) memberNames() []string {
	var names []string
	for _, m := range c.Members {
		names = append(names, m.Name)
	}
	if len(c.Join) > 0 {
		names = append(names, c.Name)
	}
	return names
}

func (c Config) self() (Member, error) {
	if len(c.Join) > 0 {
		return Member{Name: c.Name, PeerAddress: c.AdvertisePeer, APIAddress: c.AdvertiseAPI}, nil
	}
	for _, m := range c.Members {
		if m.Name == c.Name {
			return m, nil
		}
	}
	return Member{}, fmt.Errorf("node %q is not in the member list", c.Name)
}

func (c Config) checkAddressForm(what, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s %q is not host:port", what, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s %q: port %q is not a number from 0 to 65535", what, address, port)
	}
	if bad := limits.Address(address); bad != nil {
		return fmt.Errorf("%s %w", what, bad)
	}
	return nil
}

func (c Config) checkAddress(what, address string) error {
	if err := c.checkAddressForm(what, address); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(address)
	switch {
	case c.Insecure || c.TLS.Mode == tlsport.Required || loopback(host):
	case c.TLS.Mode == tlsport.Permissive:
		return fmt.Errorf("%s %s is beyond loopback, and --tls permissive accepts plain text there; --insecure allows it", what, address)
	default:
		return fmt.Errorf("%s %s is beyond loopback and its traffic would be plain text; use --tls, or --insecure to allow it", what, address)
	}
	return nil
}

// loopback reports whether host can only mean this machine. Names other than localhost are not
// resolved: what they mean may change.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
