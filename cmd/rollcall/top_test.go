package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTopOnce(t *testing.T) {
	f, _ := shop(t)
	f.setStatus(sampleStatus())
	f.put("shop/cart", notServing, "disk full", "bob")
	f.put("solo", unknown, "", "")
	r := rollcallAt(t, clock(), "top", "--once")
	for _, want := range []string{
		"4 services  ● 2 SERVING  ▲ 1 NOT_SERVING  ◆ 1 UNKNOWN\n", "\nGROUPS\nshop/          3        ▲ 1        ◆ 0  ▲▲▲▲▲▲▲▲────────────────\nsolo   ◆ UNKNOWN\n",
		"shop/cart  ▲ NOT_SERVING  bob  disk full\n", "SERVING→NOT_SERVING",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if r.code != 0 || r.stderr != "" || strings.Contains(r.stdout, "\x1b") || strings.Contains(r.stdout, ">") {
		t.Errorf("%+v", r)
	}
	r = rollcallAt(t, clock(), "top", "--once", "-o", "json", "--prefix", "shop/", "--group-depth", "1")
	var out struct {
		Status   struct{ Leader string }
		Services map[string]int
		Groups   []map[string]any
		Down     []struct{ Service, Status string } `json:"not_serving"`
		Events   []struct{ Service string }
		Revision int64
	}
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
		t.Fatal(err, r)
	}
	switch {
	case out.Status.Leader != "n2", out.Services["total"] != 3, out.Services["not_serving"] != 1, len(out.Groups) != 2, out.Groups[0]["group"] != "shop/cart",
		len(out.Down) != 1, out.Down[0].Service != "shop/cart", len(out.Events) != 5, out.Events[0].Service != "shop/cart", out.Revision != f.revision:
		t.Errorf("%+v", out)
	}
}

func TestTopNeedsATerminal(t *testing.T) {
	shop(t)
	for line, want := range map[string]string{
		"top":                        `"rollcall top" needs a terminal to draw on, and keys; "rollcall top --once" prints one picture, "rollcall status --watch" goes on`,
		"top -o yaml":                `\"rollcall top\" draws on a terminal, and has no -o yaml but with --once; \"rollcall watch --prefix '' -o yaml\" follows all services`,
		"top --once --group-depth 0": "--group-depth is 0; it is from 1 to 64 parts of a name",
		"top -o name":                "has no names to print",
		"top a":                      "a",
	} {
		if r := rollcall(t, strings.Fields(line)...); r.code != exitNotDone || !strings.Contains(r.stderr, want) || r.stdout != "" {
			t.Errorf("%s: %+v, want %q", line, r, want)
		}
	}
}
