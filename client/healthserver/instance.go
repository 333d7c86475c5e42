package healthserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// checkInstance says what keeps others from reaching this process at an address.
func checkInstance(hostport string) error {
	if err := checkHostPort(hostport); err != nil {
		return fmt.Errorf("the instance %q %w", hostport, err)
	}
	return nil
}

func checkHostPort(hostport string) error {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		if strings.Count(hostport, ":") > 1 && !strings.Contains(hostport, "[") {
			return errors.New("is not host:port; an IPv6 address stands in brackets, as [2001:db8::1]:8080")
		}
		return errors.New("is not host:port; give the address at which others reach this process, as 10.0.0.7:8080")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return errors.New("has a port that is not a number from 1 to 65535")
	}
	switch {
	case host == "":
		return errors.New("has no host; give the address at which others reach this process, as 10.0.0.7:8080")
	case strings.ContainsAny(host, "/@?#"):
		return errors.New("is not host:port; leave out the scheme, the path and all else")
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && (strings.Contains(host, ":") || strings.Trim(host, "0123456789.") == ""):
		return errors.New("has a host that looks like an IP address and is none")
	case err != nil:
		return checkHostName(host)
	case ip.Zone() != "":
		return errors.New("has a zone, which means something else on each host")
	}
	switch ip = ip.Unmap(); {
	case ip.IsUnspecified():
		return errors.New("is an address to listen at; give the one at which others reach this process, as 10.0.0.7:8080")
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("is the address of many hosts; give that of this process")
	}
	return nil
}

// checkHostName says why gRPC could not connect to a host by this name. What it refuses, package resolver skips.
func checkHostName(host string) error {
	switch {
	case host == "unix":
		return errors.New("has a host, unix, that gRPC takes for a Unix socket")
	case host[0] == '-' || strings.ContainsFunc(host, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && r != '-' && r != '.' && r != '_'
	}):
		return errors.New("has a host that is no name as the DNS has them: ASCII letters, digits, '-', '.' and '_'")
	}
	return nil
}
