package cluster_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestProcessCommandsAndRoutesAnswerAlike asks one node for the same by the command line and over HTTP: the JSON is the
// same, field by field and in the same order (decision 60), but for what is named here.
func TestProcessCommandsAndRoutesAnswerAlike(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{nodes: 1})
	if _, stderr, code := c.rollcall("status", "--wait", patience.String()); code != 0 { // the feature level has risen
		t.Fatal(stderr)
	}
	for _, line := range []string{
		"set shop/cart=serving shop/pay/a=not_serving solo=unknown --actor ann",
		"set|shop/cart|not_serving|--reason|<disk> & \"quotes\", \u00e4\n日本 \t|--actor|bob",
		"set job/7 serving --ttl 1h --actor ann",
		"override set shop/pay/* serving --for 2h --actor ann --reason swap",
		"override set solo not_serving --forever --actor ann",
		"rule add cart-min shop/* --min 1 --actor ann",
		"lease grant --ttl 30s --on-expiry unknown --forget-after 1d --reason run --actor ann",
		"role set deployer read report --actor ann",
		"token create ci --role deployer --on shop/* --ttl 90d --out - --actor ann",
		"grant add cert:shop --role reporter --on shop/* --actor ann",
	} {
		args := strings.Fields(line)
		if strings.Contains(line, "|") {
			args = strings.Split(line, "|")
		}
		if _, stderr, code := c.rollcall(args...); code != 0 {
			t.Fatalf("%s: %d\n%s", line, code, stderr)
		}
	}
	// What is another at the next moment.
	moving := regexp.MustCompile(`("(?:leader_age_seconds|clock_offset_seconds|time_left_seconds|registry_bytes|log_bytes|free_bytes)":)-?[0-9.]+`)
	compact := func(s string) string {
		t.Helper()
		var b bytes.Buffer
		if err := json.Compact(&b, []byte(s)); err != nil {
			t.Fatalf("%v in %s", err, s)
		}
		return regexp.MustCompile(`without end for \d+s`).ReplaceAllString(moving.ReplaceAllString(b.String(), "${1}0"), "without end")
	}
	http := func(path string) string {
		t.Helper()
		status, body := getREST(t, c.nodes[0], path)
		if status != 200 {
			t.Fatalf("GET %s: %d %s", path, status, body)
		}
		return compact(body)
	}
	const lastPage = `"next_page_token":"",`
	for _, test := range []struct {
		command, path string
		same          func(route string) string // what the command prints, of what the route answers; nil: all
	}{
		{"get shop/cart", "services/shop/cart", nil},
		// The command asks for the leases, too, and adds what the leader knows of this one.
		{"get job/7", "services/job%2F7", func(s string) string {
			return strings.Replace(s, `"revision":6}},`, `"revision":6,"service_count":1,"time_left_seconds":0,"late":false}},`, 1)
		}},
		{"get shop/pay/a", "services/shop/pay/a", nil},
		{"get shop/cart --at 5", "services/shop/cart?at.revision=5", nil},
		// The command reads all pages, so it has no token of the next one.
		{"list", "services", func(s string) string { return strings.Replace(s, lastPage, "", 1) }},
		{"list shop/ --status down", "services?prefix=shop/&statuses=down", func(s string) string { return strings.Replace(s, lastPage, "", 1) }},
		{"list --at 4", "services?at.revision=4", func(s string) string { return strings.Replace(s, lastPage, "", 1) }},
		// The command writes an event a line.
		{"events", "events", func(s string) string { return eventLines(t, s) }},
		{"events shop/ --type reported --reverse", "events?prefixes=shop/&types=reported&newest_first=true", func(s string) string { return eventLines(t, s) }},
		{"status", "cluster", nil},
		{"override list", "overrides", nil},
		{"rule list", "rules", nil},
		{"lease list", "leases", nil},
		{"lease list --all", "leases?all=true", nil},
		{"whoami", "whoami", nil},
		{"auth status", "auth", nil},
		{"token list", "tokens", nil},
		{"role list", "roles", nil},
		{"grant list", "grants", nil},
		{"grant list cert:shop", "grants?identity=cert:shop", nil},
	} {
		stdout, stderr, code := c.rollcall(append(strings.Fields(test.command), "-o", "json")...)
		if code != 0 || stderr != "" {
			t.Errorf("rollcall %s: %d %s", test.command, code, stderr)
			continue
		}
		printed, answered := "", http("/api/v1/"+test.path)
		if test.same != nil {
			answered = test.same(answered)
		}
		for line := range jsonObjects(t, stdout) {
			printed += compact(line)
		}
		if printed != answered {
			t.Errorf("rollcall %s prints\n%s\nand GET %s answers\n%s", test.command, printed, test.path, answered)
		}
		if len(printed) < 50 {
			t.Errorf("rollcall %s has nothing to compare: %s", test.command, printed)
		}
	}
	for command, path := range map[string]string{
		"get no/such": "services/no/such", "get shop/cart --at 999999": "services/shop/cart?at.revision=999999", "list --at 999999": "services?at.revision=999999",
		"events --from 999999 --cluster 0000000000000000": "events?from_revision=999999", // with the header, below
	} {
		_, stderr, code := c.rollcall(append(strings.Fields(command), "-o", "json")...)
		var printed, answered struct{ Code, Reason, Written string }
		if err := json.Unmarshal([]byte(stderr), &printed); err != nil || code == 0 {
			t.Errorf("rollcall %s: %d %q", command, code, stderr)
			continue
		}
		var header []string
		if strings.Contains(command, "--cluster") {
			header = []string{"Rollcall-Cluster", "0000000000000000"}
		}
		status, body := getREST(t, c.nodes[0], "/api/v1/"+path, header...)
		if err := json.Unmarshal([]byte(body), &answered); err != nil || status < 400 || printed != answered || printed.Code == "" {
			t.Errorf("rollcall %s fails with\n%s\nand GET %s with %d\n%s", command, stderr, path, status, body)
		}
	}
}

// getREST asks a node over HTTP. header are names and values.
func getREST(t *testing.T, p *process, path string, header ...string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.http+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// eventLines returns the events of an answer one after another.
func eventLines(t *testing.T, answer string) string {
	t.Helper()
	var page struct{ Events []json.RawMessage }
	if err := json.Unmarshal([]byte(answer), &page); err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, e := range page.Events {
		all += string(e)
	}
	return all
}

// jsonObjects gives the objects that stand one after another in a text.
func jsonObjects(t *testing.T, s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		d := json.NewDecoder(strings.NewReader(s))
		for d.More() {
			var one json.RawMessage
			if err := d.Decode(&one); err != nil {
				t.Fatal(err)
			}
			if !yield(string(one)) {
				return
			}
		}
	}
}
