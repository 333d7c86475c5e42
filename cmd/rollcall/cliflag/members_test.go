package cliflag

import (
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/node"
)

func TestMembersFromTheEnvironment(t *testing.T) {
	var l Members
	if err := l.SetFromEnvironment(" n1,host=a n2,api=b:1,peer=b:2\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := l.String(), "n1,api=a:7600,peer=a:7601 n2,api=b:1,peer=b:2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestParseMember(t *testing.T) {
	for _, test := range []struct {
		in   string
		want node.Member
		err  string // "" if none; the begin
	}{
		{"n1,host=10.0.0.1", node.Member{Name: "n1", APIAddress: "10.0.0.1:7600", PeerAddress: "10.0.0.1:7601"}, ""},
		{"n1,host=::1", node.Member{Name: "n1", APIAddress: "[::1]:7600", PeerAddress: "[::1]:7601"}, ""},
		{"n1,host=[::1]", node.Member{Name: "n1", APIAddress: "[::1]:7600", PeerAddress: "[::1]:7601"}, ""},
		{"n1,peer=h:2,api=h:1", node.Member{Name: "n1", APIAddress: "h:1", PeerAddress: "h:2"}, ""},
		{"n1,host=h,api=g:1", node.Member{Name: "n1", APIAddress: "g:1", PeerAddress: "h:7601"}, ""},
		{"n1", node.Member{}, `"n1" has no address`},
		{"n1,api=h:1", node.Member{}, `"n1,api=h:1" has no peer address`},
		{"n1,peer=h:1", node.Member{}, `"n1,peer=h:1" has no API address`},
		{"", node.Member{}, `"" begins with no name`},
		{"host=h", node.Member{}, `"host=h" begins with no name`},
		{"n1,hst=h", node.Member{}, `"n1,hst=h": unknown key "hst"`},
		{"n1,host", node.Member{}, `"n1,host": "host" has no value`},
		{"n1,host=", node.Member{}, `"n1,host=": "host=" has no value`},
		{"n1,host=a,host=b", node.Member{}, `"n1,host=a,host=b": host is given twice`},
		{"n1,host=a:7600", node.Member{}, `"n1,host=a:7600": host is a host without a port`},
	} {
		got, err := parseMember(test.in)
		switch {
		case test.err == "" && (err != nil || got != test.want):
			t.Errorf("%q: %+v, %v; want %+v", test.in, got, err, test.want)
		case test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), test.err)):
			t.Errorf("%q: %v, want %s", test.in, err, test.err)
		}
	}
}
