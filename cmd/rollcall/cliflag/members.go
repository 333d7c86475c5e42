package cliflag

import (
	"fmt"
	"net"
	"strings"

	"github.com/rollcallhq/rollcall/node"
)

// Ports of a member given by its host alone.
const (
	defaultAPIPort  = "7600"
	defaultPeerPort = "7601"
)

// Members is the value of serve --member. node.Config checks the list as a whole.
type Members []node.Member

func (l *Members) Type() string { return "member" }

func (l *Members) String() string {
	parts := make([]string, len(*l))
	for i, m := range *l {
		parts[i] = fmt.Sprintf("%s,api=%s,peer=%s", m.Name, m.APIAddress, m.PeerAddress)
	}
	return strings.Join(parts, " ")
}

func (l *Members) Set(s string) error {
	m, err := parseMember(s)
	if err != nil {
		return err
	}
	*l = append(*l, m)
	return nil
}

// SetFromEnvironment reads the whole list, separated by white space because a member has commas in it.
func (l *Members) SetFromEnvironment(s string) error {
	for _, field := range strings.Fields(s) {
		if err := l.Set(field); err != nil {
			return err
		}
	}
	return nil
}

// parseMember reads NAME,host=HOST or NAME,api=HOST:PORT,peer=HOST:PORT.
func parseMember(s string) (node.Member, error) {
	const form = "write NAME,host=HOST or NAME,api=HOST:PORT,peer=HOST:PORT"
	parts := strings.Split(s, ",")
	m := node.Member{Name: parts[0]}
	if m.Name == "" || strings.Contains(m.Name, "=") {
		return m, fmt.Errorf("%q begins with no name; %s", s, form)
	}
	given := map[string]string{}
	for _, part := range parts[1:] {
		key, value, ok := strings.Cut(part, "=")
		switch {
		case !ok || value == "":
			return m, fmt.Errorf("%q: %q has no value; %s", s, part, form)
		case key != "host" && key != "api" && key != "peer":
			return m, fmt.Errorf("%q: unknown key %q; %s", s, key, form)
		case given[key] != "":
			return m, fmt.Errorf("%q: %s is given twice", s, key)
		case key == "host" && isHostPort(value):
			return m, fmt.Errorf("%q: host is a host without a port; with ports %s", s, "write NAME,api=HOST:PORT,peer=HOST:PORT")
		}
		given[key] = value
	}
	if host := given["host"]; host != "" {
		host = strings.Trim(host, "[]")
		m.APIAddress = net.JoinHostPort(host, defaultAPIPort)
		m.PeerAddress = net.JoinHostPort(host, defaultPeerPort)
	}
	if given["api"] != "" {
		m.APIAddress = given["api"]
	}
	if given["peer"] != "" {
		m.PeerAddress = given["peer"]
	}
	switch {
	case m.APIAddress == "" && m.PeerAddress == "":
		return m, fmt.Errorf("%q has no address; %s", s, form)
	case m.APIAddress == "":
		return m, fmt.Errorf("%q has no API address; %s", s, form)
	case m.PeerAddress == "":
		return m, fmt.Errorf("%q has no peer address; %s", s, form)
	}
	return m, nil
}

// isHostPort tells 10.0.0.1:7600 and [::1]:7600 from the bare ::1.
func isHostPort(s string) bool {
	if net.ParseIP(s) != nil {
		return false
	}
	_, _, err := net.SplitHostPort(s)
	return err == nil
}
