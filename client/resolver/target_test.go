package resolver

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/resolver"
)

func targetOf(t *testing.T, text string) resolver.Target {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return resolver.Target{URL: *u}
}

func TestServiceTargets(t *testing.T) {
	for target, want := range map[string]string{ // "": an error that has the text behind the bar
		"rollcall:///checkout":                       "checkout",
		"rollcall:/checkout":                         "checkout",
		"rollcall:///shop/checkout":                  "shop/checkout",
		"rollcall:///shop.Checkout":                  "shop.Checkout",
		"rollcall:///dienst/zählwerk":                "dienst/zählwerk",
		"rollcall:///a:b@c;d&e!$'()":                 "a:b@c;d&e!$'()",
		"rollcall:///" + strings.Repeat("x", 252):    strings.Repeat("x", 252),
		"rollcall:///":                               "|names nothing",
		"rollcall://":                                "|names nothing",
		"rollcall:":                                  "|names nothing",
		"rollcall:checkout":                          "|has no slashes",
		"rollcall://auth/checkout":                   "|authority",
		"rollcall://checkout":                        "|authority",
		"rollcall://u@/checkout":                     "|authority",
		"rollcall:///checkout?a=b":                   "|has a query",
		"rollcall:///checkout?":                      "|has a query",
		"rollcall:///?a=b":                           "|has a query",
		"rollcall:///checkout#f":                     "|has a fragment",
		"rollcall:///shop%2Fcheckout":                "|escape",
		"rollcall:///shop%20checkout":                "|escape",
		"rollcall:///%63heckout":                     "|escape",
		"rollcall:///dienst/z%C3%A4hlwerk":           "|escape",
		"rollcall:///100%25":                         "|escape",
		"rollcall:///checkout/":                      "|ends with '/'",
		"rollcall:///*":                              "|'*'",
		"rollcall:///checkout/*":                     "|'*'",
		"rollcall:///a,b":                            "|','",
		"rollcall:///a=b":                            "|'='",
		"rollcall:///a b":                            "|white space",
		"rollcall:///rollcall.reads":                 "|node's own",
		"rollcall:///" + strings.Repeat("x", 253):    "|no name of an instance has room",
		"rollcall:///" + strings.Repeat("x", 257):    "|at most 256",
		"rollcall:///" + strings.Repeat("x", 10_000): "|at most 256",
	} {
		t.Run(fmt.Sprintf("%.60s", target), func(t *testing.T) {
			got, err := serviceOf(targetOf(t, target))
			if problem, bad := strings.CutPrefix(want, "|"); bad {
				if err == nil || !strings.Contains(err.Error(), problem) {
					t.Errorf("%q, %v; want %q", got, err, problem)
				}
				return
			}
			if err != nil || got != want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestNodesTargets(t *testing.T) {
	for target, want := range map[string]string{
		"rollcall-nodes:///a:7600":                    "a:7600",
		"rollcall-nodes:///a:7600,b:7600,10.0.0.3:7":  "a:7600 b:7600 10.0.0.3:7",
		"rollcall-nodes:///[::1]:7600,[fe80::1]:7600": "[::1]:7600 [fe80::1]:7600",
		"rollcall-nodes:///":                          "|names nothing",
		"rollcall-nodes://a:7600/":                    "|authority",
		"rollcall-nodes://a:7600,b:7600":              "|authority",
		"rollcall-nodes:///a:7600,":                   `|the node "" is not HOST:PORT`,
		"rollcall-nodes:///,a:7600":                   `|the node "" is not HOST:PORT`,
		"rollcall-nodes:///a:7600,,b:7600":            `|the node "" is not HOST:PORT`,
		"rollcall-nodes:///a":                         `|the node "a" is not HOST:PORT`,
		"rollcall-nodes:///a:":                        "|port",
		"rollcall-nodes:///a:0":                       "|port",
		"rollcall-nodes:///a:65536":                   "|port",
		"rollcall-nodes:///a:http":                    "|port",
		"rollcall-nodes:///:7600":                     "|no host",
		"rollcall-nodes:///a:7600,a:7600":             "|listed twice",
		"rollcall-nodes:///a:7600/":                   "|port",
		"rollcall-nodes:///a/b:7600":                  "|neither an IP address nor a name",
		"rollcall-nodes:///a:7600?x=y":                "|has a query",
		"rollcall-nodes:///a:7600#x":                  "|has a fragment",
		"rollcall-nodes:///a%3A7600":                  "|escape",
		"rollcall-nodes:///%5B::1%5D:7600":            "|escape",
		"rollcall-nodes:///0.0.0.0:7600":              "|not one machine's",
		"rollcall-nodes:///a b:7600":                  "|neither an IP address nor a name",
	} {
		t.Run(target, func(t *testing.T) {
			got, err := nodesOf(targetOf(t, target))
			if problem, bad := strings.CutPrefix(want, "|"); bad {
				if err == nil || !strings.Contains(err.Error(), problem) {
					t.Errorf("%q, %v; want %q", got, err, problem)
				}
				return
			}
			if err != nil || strings.Join(got, " ") != want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"10.0.0.7:8080": true, "host:1": true, "host.example.org:65535": true, "my_host:80": true, "[::1]:80": true,
		"[fe80::1%eth0]:80": true, "[2001:db8::7]:8080": true, "UNIX1:80": true, "127.0.0.1:80": true,
		"": false, ":80": false, "host": false, "host:": false, "host:0": false, "host:65536": false, "host:-1": false,
		"host:+1": false, "host:080": false, "host:http": false, "::1:80": false, "[::1]": false, "0.0.0.0:80": false,
		"[::]:80": false, "224.0.0.1:80": false, "eu/10.0.0.7:80": false, "unix:80": false, "unix:/tmp/s": false,
		"host:80:81": false, "ho st:80": false, "höst:80": false, "-host:80": false, "user@host:80": false,
		"http://host:80": false, "dns:///host:80": false, "host:80/": false, "host:٣": false,
	} {
		if err := checkAddress(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
