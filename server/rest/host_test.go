package rest

import (
	"net/http"
	"testing"
)

func TestHostName(t *testing.T) {
	for host, want := range map[string]string{
		"n1": "n1", "N1:7602": "n1", "n1.": "n1", "n1.:80": "n1", "[::1]:7602": "::1", "[::1]": "::1", "127.0.0.1:80": "127.0.0.1", "": "", ":80": "",
	} {
		if got := hostName(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

// TestAHostIsShownOnlyIfItIsPlain: the error is a line that somebody may paste into a shell.
func TestAHostIsShownOnlyIfItIsPlain(t *testing.T) {
	for host, want := range map[string]string{
		"rollcall.example.com": "rollcall.example.com", "": "NAME", "a b": "NAME", "a;rm": "NAME", "$(x)": "NAME", "`x`": "NAME", "ä": "NAME", "a|b": "NAME", `a\b`: "NAME",
	} {
		if got := shown(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for accept, want := range map[string]bool{
		"gzip": true, "GZIP": true, "br, gzip;q=0.1": true, "gzip; q=1": true, "gzip;q=0": false, "gzip;q=0.0": false, "gzip;q=x": false, "br": false, "": false, "xgzip": false, "*": false,
	} {
		if got := AcceptsGzip(&http.Request{Header: http.Header{"Accept-Encoding": {accept}}}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}
