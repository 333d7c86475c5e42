package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	keys := keysOf(reflect.TypeFor[fileLayout]())
	keys = append(keys, keysOf(reflect.TypeFor[checkKeys]())...)
	for word, want := range map[string]string{
		"service": "services", "Services": "services", "sevrices": "services", "instances": "instance", "intervall": "interval", "TTL": "ttl", "ttl ": "ttl",
		"timout": "timeout", "risk": "rise", "fal": "fall", "gprc": "grpc", "dsn": "dns", "forget-after": "forget_after", "forgetAfter": "forget_after",
		"": "", "x": "", "colour": "", "tags": "", "日本語": "", "script": "", strings.Repeat("a", 100_000): "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("%.20q is near %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"abc", "xabc", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestPathsOf(t *testing.T) {
	for key, want := range map[string][]string{
		"url":       {"services[].checks[].http"},
		"endpoints": {"cluster"},
		"address":   {"services[].checks[].tcp", "services[].checks[].cert"},
		"cluster":   nil,
		"nothing":   nil,
	} {
		if got := pathsOf(key, reflect.TypeFor[fileLayout](), ""); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}
