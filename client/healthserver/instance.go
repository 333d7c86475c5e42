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
		return nil // a name
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
