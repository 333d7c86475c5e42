package config

import (
	"fmt"
	"strings"
	"testing"
)

// file returns a file whose services are those of a text, from line 5 on.
func file(services string) string {
	return "cluster: {endpoints: [127.0.0.1:7600]}\ninstance: 10.0.0.7:8080\nlisten: {http: 127.0.0.1:7612}\nservices:\n" + services
}

// check returns a file with one service, whose one check is a text in line 7, from column 5 on.
func check(entry string) string { return file("- name: shop\n  checks:\n  - " + entry + "\n") }

// TestFaults has files with one fault each.
func TestFaults(t *testing.T) {
	long := strings.Repeat("x", 250)
	for name, c := range map[string]struct{ text, want string }{
		// keys
		"unknown key":                    {whole + "colour: red\n", `5:1: unknown key "colour"; here stand cluster, instance, ttl, forget_after, listen, kubernetes, defaults or services`},
		"mistyped key":                   {whole + "forgetafter: 5d\n", `5:1: unknown key "forgetafter"; did you mean forget_after?`},
		"key in another style":           {whole + "forgetAfter: 5d\n", `5:1: unknown key "forgetAfter"; did you mean forget_after?`},
		"key with a dash":                {file("- name: a\n  on-stop: leave\n"), `6:3: unknown key "on-stop"; did you mean on_stop?`},
		"key at another level":           {check("url: http://127.0.0.1/"), `7:5: unknown key "url"; it belongs to services[].checks[].http; here stand name, interval, `},
		"key of another kind":            {check("tcp: {address: 127.0.0.1:1, url: x}"), `7:33: unknown key "url"; it belongs to services[].checks[].http; here stand address`},
		"unknown kind":                   {check("htpp: {url: http://127.0.0.1/}"), `7:5: unknown key "htpp"; did you mean http?`},
		"key twice":                      {whole + "instance: 10.0.0.8:8080\n", "5:1: instance is given twice; it stands in line 2 already"},
		"key twice, once in quotes":      {whole + "\"instance\": 10.0.0.8:8080\n", "5:1: instance is given twice"},
		"key twice in a check":           {check("tcp: {address: 127.0.0.1:1, address: 127.0.0.1:2}"), "7:33: address is given twice"},
		"key twice in headers":           {check("http: {url: http://127.0.0.1/, headers: {A: b, A: c}}"), "7:52: A is given twice"},
		"key without a value":            {whole + "ttl:\n", "5:1: ttl has no value; give it one, or leave the key out"},
		"key with null":                  {whole + "ttl: null\n", "5:1: ttl has no value"},
		"key with a tilde":               {whole + "ttl: ~\n", "5:1: ttl has no value"},
		"empty text":                     {file("- name: ''\n"), "5:9: name is empty; give it a value, or leave the key out"},
		"key that is a list":             {"? [a]\n: b\n" + whole, "1:3: a key must be one word"},
		"key that is empty":              {whole + "'': b\n", "5:1: a key must be one word"},
		"number as a key":                {whole + "5: b\n", `5:1: unknown key "5"; here stand`},
		"merge key":                      {whole + "<<: {ttl: 5s}\n", "5:1: the merge key << is not used here; write the keys out"},
		"anchor":                         {strings.Replace(whole, "10.0.0.7:8080", "&here 10.0.0.7:8080", 1), "2:11: anchors as &here are not used here; write the value out at each place"},
		"anchor at a mapping":            {strings.Replace(whole, "listen: ", "listen: &l ", 1), "3:9: anchors as &l are not used here"},
		"anchor at a key":                {"&k ttl: 5s\n" + whole, "1:1: anchors as &k are not used here"},
		"alias":                          {strings.Replace(whole, "10.0.0.7:8080", "&here 10.0.0.7:8080", 1) + "ttl: *here\n", "2:11: anchors as &here are not used here; write the value out at each place\nagent.yaml:5:6: aliases as *here are not used here; write the value out"},
		"alias without an anchor":        {whole + "ttl: *t\n", "5:6: aliases as *t are not used here; write the value out"},
		"tag":                            {whole + "ttl: !!str 5s\n", "5:6: tags as !!str are not used here; leave the tag out"},
		"own tag":                        {whole + "ttl: !env TTL\n", "5:6: tags as !env are not used here"},
		"mapping for a value":            {whole + "ttl: {a: b}\n", "5:6: ttl must be one value, and this is a mapping"},
		"list for a value":               {whole + "ttl: [5s]\n", "5:6: ttl must be one value, and this is a list"},
		"value for a mapping":            {strings.Replace(whole, "{http: 127.0.0.1:7612}", "127.0.0.1:7612", 1), "3:9: listen must be a mapping with keys; possible keys are grpc, http or allow_remote_push"},
		"value for a list":               {strings.Replace(whole, "[127.0.0.1:7600]", "127.0.0.1:7600", 1), "1:22: endpoints must be a list, as [127.0.0.1:7600]"},
		"mapping for a list":             {strings.Replace(whole, "[{name: checkout}]", "{name: checkout}", 1), "4:11: services must be a list; begin each entry with -"},
		"value for a service":            {file("- shop\n"), "5:3: an entry of services must be a mapping with keys; possible keys are name, "},
		"nothing for a service":          {file("-\n- name: a\n"), "5:2: an entry of services has no value"},
		"mapping for an argument":        {check("command: {run: [x, {a: b}]}"), "7:24: an entry of run must be one value, and this is a mapping"},
		"null for an argument":           {check("command: {run: [x, ~]}"), "7:24: an entry of run has no value"},
		"colon and space in an argument": {check("command: {run: [echo, a: b]}"), "7:27: an entry of run must be one value, and this is a mapping; a value with a colon and a space needs quotes"},
		"zero byte by an escape":         {check(`command: {run: ["a\0b"]}`), "7:21: an entry of run has a zero byte"},

		"key of two lines":       {whole + "\"a\\nb\\e\": c\n", "5:1: unknown key \"a\\nb\\x1b\"; here stand"},
		"key of two lines twice": {check("command: {run: [x], env: {\"a\\nb\\e\": c, \"a\\nb\\e\": d}}"), "7:44: a b\ufffd is given twice"},

		// durations
		"no unit":                {whole + "ttl: 30\n", `5:6: ttl: "30" has no unit; use 30s, 30m, 30h or 30d`},
		"no unit in quotes":      {whole + "ttl: \"30\"\n", `5:6: ttl: "30" has no unit`},
		"no unit in defaults":    {whole + "defaults: {interval: 10}\n", `5:22: interval: "10" has no unit`},
		"no unit in a check":     {check("tcp: {address: 127.0.0.1:1}\n    timeout: 5"), `8:14: timeout: "5" has no unit`},
		"no unit, a fraction":    {check("ttl: {after: 1.5}"), `7:18: after: "1.5" has no unit`},
		"wrong unit":             {whole + "ttl: 30sec\n", `5:6: ttl: "30sec" is no duration; use a number with a unit, as 500ms, 10s`},
		"unit with a space":      {whole + "ttl: 30 s\n", `5:6: ttl: "30 s" is no duration`},
		"negative":               {check("tcp: {address: 127.0.0.1:1}\n    interval: -5s"), "8:15: interval is -5s; it must be more than 0"},
		"zero":                   {check("tcp: {address: 127.0.0.1:1}\n    interval: 0s"), "8:15: interval is 0s; it must be more than 0"},
		"zero without a unit":    {check("tcp: {address: 127.0.0.1:1}\n    interval: 0"), "8:15: interval is 0; it must be more than 0"},
		"too long for a clock":   {whole + "forget_after: 200000d\n", `5:15: forget_after: "200000d" is too long`},
		"interval too short":     {whole + "defaults: {interval: 999us}\n", "5:22: interval is 999µs; it must be from 1ms to 365d"},
		"interval too long":      {check("tcp: {address: 127.0.0.1:1}\n    interval: 366d"), "8:15: interval is 366d; it must be from 1ms to 365d"},
		"timeout too long":       {whole + "defaults: {timeout: 366d}\n", "5:21: timeout is 366d; it must be at most 365d"},
		"after too long":         {check("ttl: {after: 366d}"), "7:18: after is 366d; it must be at most 365d"},
		"ttl too short":          {whole + "ttl: 999ms\n", "5:6: ttl is 999ms; it must be from 1s to 24h"},
		"ttl too long":           {whole + "ttl: 24h1s\n", "5:6: ttl is 24h0m1s; it must be from 1s to 24h"},
		"forget_after too short": {whole + "forget_after: 10ms\n", "5:15: forget_after is 10ms; it must be from 1s to 365d"},
		"forget_after too long":  {whole + "forget_after: 366d\n", "5:15: forget_after is 366d; it must be from 1s to 365d"},

		// other values
		"rise of 0":          {whole + "defaults: {rise: 0}\n", `5:18: rise is "0"; it must be a whole number from 1 to 2147483647`},
		"fall of -1":         {check("load: {}\n    fall: -1"), `8:11: fall is "-1"; it must be a whole number from 1 to 2147483647`},
		"rise of 1.5":        {check("load: {}\n    rise: 1.5"), `8:11: rise is "1.5"`},
		"rise of 010":        {check("load: {}\n    rise: 010"), `8:11: rise is "010"`},
		"rise of 0x1":        {check("load: {}\n    rise: 0x1"), `8:11: rise is "0x1"`},
		"rise of 3000000000": {check("load: {}\n    rise: 3000000000"), `8:11: rise is "3000000000"`},
		"critical: yes":      {check("load: {}\n    critical: yes"), `8:15: critical is "yes"; it must be true or false`},
		"push: 1":            {file("- name: a\n  push: 1\n"), `6:9: push is "1"; it must be true or false`},

		// cluster and listen
		"no cluster":              {strings.SplitAfterN(whole, "\n", 2)[1], "1:1: cluster.endpoints is missing or empty; name the API addresses of the registry's nodes"},
		"cluster without":         {strings.Replace(whole, "{endpoints: [127.0.0.1:7600]}", "{}", 1), "1:10: cluster.endpoints is missing or empty"},
		"no endpoints":            {strings.Replace(whole, "[127.0.0.1:7600]", "[]", 1), "1:11: cluster.endpoints is missing or empty"},
		"endpoint without a port": {strings.Replace(whole, "[127.0.0.1:7600]", "[127.0.0.1]", 1), `1:23: cluster.endpoints: endpoint "127.0.0.1" is not host:port`},
		"endpoint twice":          {strings.Replace(whole, "[127.0.0.1:7600]", "[127.0.0.1:7600, 127.0.0.1:7600]", 1), "1:39: cluster.endpoints has 127.0.0.1:7600 twice"},
		"endpoint with a scheme":  {strings.Replace(whole, "[127.0.0.1:7600]", `["http://127.0.0.1:7600"]`, 1), `1:23: cluster.endpoints: endpoint "http://127.0.0.1:7600" is not host:port: leave out http://`},
		"token_file":              {strings.Replace(whole, "}", ", token_file: \"\"}", 1), "1:52: token_file is empty"},
		"token_file twice":        {strings.Replace(whole, "}", ", token_file: a, token_file: b}", 1), "1:55: token_file is given twice"},
		"token_file of a list":    {strings.Replace(whole, "}", ", token_file: [a]}", 1), "1:52: token_file must be one value, and this is a list"},
		"token_file in the open":  {strings.Replace(whole, "[127.0.0.1:7600]}", "[127.0.0.1:7600, 10.0.0.1:7600], token_file: a}", 1), "1:67: token_file needs ca: endpoint 10.0.0.1:7600 is beyond this machine and without TLS, and everybody on the way could read the token"},
		"cert without key":        {strings.Replace(whole, "}", ", ca: a, cert: x}", 1), "1:53: cert needs key, the file of its key"},
		"key without cert":        {strings.Replace(whole, "}", ", ca: a, key: x}", 1), "1:52: key needs cert, the file of its certificate"},
		"cert without ca":         {strings.Replace(whole, "}", ", cert: x, key: y}", 1), "1:46: cert and key need ca"},
		"no ca":                   {strings.Replace(whole, "}", ", ca: []}", 1), "1:44: ca is an empty list"},
		"system and a file":       {strings.Replace(whole, "}", ", ca: [system, ca.pem]}", 1), `1:44: ca is "system" and files beside it; name either`},
		"listen without a port":   {strings.Replace(whole, "127.0.0.1:7612", "127.0.0.1", 1), `3:16: listen.http is "127.0.0.1", which is not HOST:PORT`},
		"listen at no number":     {strings.Replace(whole, "127.0.0.1:7612", "127.0.0.1:http", 1), `3:16: listen.http is "127.0.0.1:http"; its port must be a number from 0 to 65535`},
		"listen at 65536":         {strings.Replace(whole, "127.0.0.1:7612", "127.0.0.1:65536", 1), `3:16: listen.http is "127.0.0.1:65536"; its port must be`},
		"listen at no address":    {strings.Replace(whole, "127.0.0.1:7612", "127.0.0.256:1", 1), `3:16: listen.http is "127.0.0.256:1"; its host is no address of this machine`},
		"listen at all addresses": {strings.Replace(whole, "127.0.0.1:7612", `":7612"`, 1), `3:16: listen.http is ":7612", which is beyond loopback`},
		"one address for two":     {strings.Replace(whole, "{http:", "{grpc: 127.0.0.1:7612, http:", 1), "3:38: listen.http and listen.grpc are the same address; each needs its own"},

		// services
		"no services":                     {strings.Replace(whole, "services: [{name: checkout}]\n", "", 1), "1:1: services is missing or empty; an agent needs at least one service"},
		"empty services":                  {strings.Replace(whole, "[{name: checkout}]", "[]", 1), "4:1: services is missing or empty"},
		"service without a name":          {file("- on_stop: leave\n"), "5:3: a service has no name"},
		"own name":                        {file("- name: rollcall.x\n"), `5:9: the service's name "rollcall.x" begins with "rollcall.", which is kept for the node's own names`},
		"pattern":                         {file("- name: 'shop/*'\n"), `5:9: `},
		"star":                            {file("- name: '*'\n"), `5:9: `},
		"name too long":                   {file("- name: " + long + "xxxxxxx\n"), "5:9: "},
		"name and instance too long":      {file("- name: " + long + "\n"), "5:9: "},
		"own instance too long":           {file("- name: " + long + "\n  instance: 10.0.0.7:9\n"), "6:13: "},
		"service twice":                   {file("- name: a\n- name: b\n- name: a\n"), `7:9: service "a" stands in this file twice; the first one is in line 5`},
		"default instance without a host": {strings.Replace(whole, "10.0.0.7:8080", "':80'", 1), `2:11: instance: the instance ":80" has no host; give the address at which others reach this process`},
		"instance to listen at":           {file("- name: a\n  instance: 0.0.0.0:80\n"), `6:13: the instance "0.0.0.0:80" is an address to listen at`},
		"instance, IPv6 to listen at":     {file("- name: a\n  instance: '[::]:80'\n"), `6:13: the instance "[::]:80" is an address to listen at`},
		"instance without a port":         {file("- name: a\n  instance: 10.0.0.7\n"), `6:13: the instance "10.0.0.7" is not host:port`},
		"instance with port 0":            {file("- name: a\n  instance: 10.0.0.7:0\n"), `6:13: the instance "10.0.0.7:0" has a port that is not a number from 1 to 65535`},
		"unknown on_stop":                 {file("- name: a\n  on_stop: explode\n"), `6:12: on_stop is "explode"; use withdraw, not_serving or leave`},
		"mistyped on_stop":                {file("- name: a\n  on_stop: not-serving\n"), `6:12: on_stop is "not-serving"; did you mean not_serving?`},
		"readiness gate":                  {file("- name: a\n  readiness_gate: Example.com/ready\n"), `6:19: readiness_gate: "Example.com/ready": what stands before the slash must be a domain in small letters`},
		"readiness gate, no name":         {file("- name: a\n  readiness_gate: example.com/\n"), `6:19: readiness_gate: "example.com/": what stands after the slash`},
		"readiness gate of Kubernetes":    {file("- name: a\n  readiness_gate: Ready\n"), `6:19: readiness_gate: "Ready" is a condition that Kubernetes writes itself`},
		"readiness gate twice":            {file("- name: a\n  readiness_gate: x.y/r\n- name: b\n  readiness_gate: x.y/r\n"), `8:19: readiness_gate "x.y/r" is that of service "a" already`},
		"push: false, no checks":          {file("- name: a\n  push: false\n"), `6:9: service "a" has no checks, and push is false`},
		"push: false, a ttl check":        {file("- name: a\n  push: false\n  checks: [{ttl: {after: 5s}}]\n"), `6:9: service "a" has a ttl check, which is fed by pushes, and push is false`},
		"pushed without listen.http":      {strings.Replace(whole, "listen: {http: 127.0.0.1:7612}\n", "", 1), `3:19: service "checkout" has no checks, so its status must be pushed, for which the agent needs listen.http`},
		"push without listen.http":        {strings.Replace(strings.Replace(whole, "listen: {http: 127.0.0.1:7612}\n", "", 1), "checkout}", "checkout, push: true, checks: [{load: {}}]}", 1), `3:35: push needs listen.http`},
		"ttl without listen.http":         {strings.Replace(strings.Replace(whole, "listen: {http: 127.0.0.1:7612}\n", "", 1), "checkout}", "checkout, checks: [{ttl: {after: 5s}}]}", 1), `3:38: a ttl check is fed by pushes, for which the agent needs listen.http`},
		"remote push without listen.http": {strings.Replace(file("- {name: a, checks: [{load: {}}]}\n"), "{http: 127.0.0.1:7612}", "{allow_remote_push: true}", 1), "3:29: listen.allow_remote_push needs listen.http"},
		"101 checks":                      {file("- name: a\n  checks:\n" + strings.Repeat("  - load: {}\n", 101)), "107:5: this is one check too many; a service has at most 100"},

		// checks
		"two kinds":                      {check("tcp: {address: 127.0.0.1:1}\n    http: {url: http://127.0.0.1/}"), "7:5: a check has 2 kinds, http and tcp; make an entry of each"},
		"three kinds":                    {check("{load: {}, memory: {}, ttl: {after: 1s}}"), "7:5: a check has 3 kinds, memory and load and ttl; make an entry of each"},
		"no kind":                        {check("interval: 5s"), "7:5: a check does not say what it checks; it needs one of http, tcp, grpc, dns, command, file, cert, disk, memory, load or ttl"},
		"name twice":                     {check("load: {}\n  - memory: {}\n    name: load"), `9:11: service "shop" has two checks with the name "load", the first one in line 7; give each a name of its own`},
		"kind twice, no names":           {check("tcp: {address: 127.0.0.1:1}\n  - tcp: {address: 127.0.0.1:2}"), `8:5: service "shop" has two checks with the name "tcp", the first one in line 7`},
		"two ttl checks":                 {check("ttl: {after: 5s}\n  - ttl: {after: 6s}\n    name: b"), `8:5: service "shop" has two ttl checks, the first one in line 7; one check takes all that is pushed`},
		"check with a long name":         {check("load: {}\n    name: " + long + long), "8:11: the check's name "},
		"check with a name of two lines": {check("load: {}\n    name: \"a\\nb\""), "8:11: the check's name "},
		"http without url":               {check("http: {}"), "7:11: a check of kind http needs url, as url: http://127.0.0.1:8080/healthz"},
		"url without a scheme":           {check("http: {url: 127.0.0.1/healthz}"), "7:17: url: the URL must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH"},
		"url with port 0":                {check("http: {url: http://127.0.0.1:0/}"), "7:17: url: the port must be a number from 1 to 65535"},
		"expect of 99":                   {check("http: {url: http://127.0.0.1/, expect: 99}"), `7:44: expect is "99"; it must be a status of HTTP, from 200 to 599, or a list of them`},
		"expect of 600":                  {check("http: {url: http://127.0.0.1/, expect: [200, 600]}"), `7:50: expect is "600"`},
		"expect of 2xx":                  {check("http: {url: http://127.0.0.1/, expect: 2xx}"), `7:44: expect is "2xx"`},
		"expect of nothing":              {check("http: {url: http://127.0.0.1/, expect: []}"), "7:44: expect is an empty list"},
		"expect of a mapping":            {check("http: {url: http://127.0.0.1/, expect: {a: b}}"), "7:44: expect must be one value, and this is a mapping"},
		"method of two words":            {check("http: {url: http://127.0.0.1/, method: GET IT}"), `7:44: method: "GET IT" is no HTTP method`},
		"method in small letters":        {check("http: {url: http://127.0.0.1/, method: get}"), `7:44: method is "get"; methods of HTTP are case-sensitive, use GET`},
		"body of HEAD":                   {check("http: {url: http://127.0.0.1/, method: HEAD, body: x}"), "7:56: body needs another method than HEAD"},
		"header with a space":            {check("http: {url: http://127.0.0.1/, headers: {A B: c}}"), `7:46: headers: "A B" with its value is no HTTP header`},
		"header with a line feed":        {check(`http: {url: http://127.0.0.1/, headers: {A: "b\nc"}}`), `7:46: headers: "A" with its value is no HTTP header`},
		"headers as a list":              {check("http: {url: http://127.0.0.1/, headers: [A]}"), "7:45: headers must be a mapping of names and values"},
		"tcp without address":            {check("tcp: {}"), "7:10: a check of kind tcp needs address"},
		"tcp without a port":             {check("tcp: {address: 127.0.0.1}"), "7:20: address: the address must be HOST:PORT"},
		"tcp without a host":             {check("tcp: {address: ':80'}"), "7:20: address: the address must be HOST:PORT"},
		"tcp at port 65536":              {check("tcp: {address: 127.0.0.1:65536}"), "7:20: address: the port must be a number from 1 to 65535"},
		"grpc without target":            {check("grpc: {service: x}"), "7:11: a check of kind grpc needs target"},
		"grpc with http://":              {check("grpc: {target: http://127.0.0.1:1}"), "7:20: target: the target must be HOST:PORT, without http://"},
		"dns without host":               {check("dns: {}"), "7:10: a check of kind dns needs host"},
		"dns of an address":              {check("dns: {host: 10.0.0.1}"), "7:17: host: "},
		"dns with no address":            {check("dns: {host: a.b, addresses: [10.0.0]}"), `7:34: addresses: "10.0.0" is no IP address`},
		"command without run":            {check("command: {dir: /}"), "7:14: a check of kind command needs run"},
		"command, empty run":             {check("command: {run: []}"), "7:14: a check of kind command needs run"},
		"command, no program":            {check("command: {run: ['', a]}"), "7:21: run begins with an empty text"},
		"command, a text":                {check("command: {run: check_disk -w}"), "7:20: run must be a list, as [check_disk, -w]"},
		"command with quotes":            {check("command: {run: 'echo \"a b\"'}"), "7:20: run must be a list, as [A, B]"},
		"command, env":                   {check("command: {run: [x], env: {A=B: c}}"), `7:31: env: "A=B" cannot be the name of a variable`},
		"file without path":              {check("file: {max_age: 1d}"), "7:11: a check of kind file needs path"},
		"file without max_age":           {check("file: {path: /x}"), "7:11: a check of kind file needs max_age, as max_age: 25h"},
		"cert without":                   {check("cert: {}"), "7:11: a check of kind cert needs file or address"},
		"cert with both":                 {check("cert: {file: /x, address: 127.0.0.1:1}"), "7:11: a check of kind cert has file and address; make an entry of each"},
		"cert at no address":             {check("cert: {address: x}"), "7:21: address: the address must be HOST:PORT"},
		"cert, wrong order":              {check("cert: {file: /x, warn_before: 1d, fail_before: 2d}"), "7:35: warn_before is 24h, later than fail_before, which is 2d; the warning comes first"},
		"disk without path":              {check("disk: {}"), "7:11: a check of kind disk needs path"},
		"disk, 101 percent":              {check("disk: {path: /, warn_free_percent: 101}"), "7:40: warn_free_percent is 101; it must be from 0 to 100"},
		"disk, percent sign":             {check("disk: {path: /, warn_free_percent: 10%}"), `7:40: warn_free_percent is "10%"; it must be a number, 0 or more`},
		"disk, not a number":             {check("disk: {path: /, warn_free_percent: .nan}"), `7:40: warn_free_percent is ".nan"`},
		"disk, wrong order":              {check("disk: {path: /, warn_free_percent: 5, fail_free_percent: 6}"), "7:40: warn_free_percent is 5, less than fail_free_percent, which is 6; the warning comes first"},
		"disk, bytes":                    {check("disk: {path: /, warn_free_bytes: 10GB}"), `7:38: warn_free_bytes is "10GB"; use a whole number of bytes, or one with KiB, MiB, GiB or TiB, as 10GiB`},
		"disk, too many bytes":           {check("disk: {path: /, warn_free_bytes: 9000000TiB}"), `7:38: warn_free_bytes is "9000000TiB"`},
		"disk, bytes, wrong order":       {check("disk: {path: /, warn_free_bytes: 1, fail_free_bytes: 2}"), "7:38: warn_free_bytes is less than fail_free_bytes"},
		"disk without a bound":           {check("disk: {path: /, warn_free_percent: 0}"), "7:40: warn_free_percent is 0, so the check has no bound"},
		"load of 0":                      {check("load: {warn: 0}"), "7:18: warn is 0; it must be more than 0"},
		"load fails at 0":                {check("load: {fail: 0}"), "7:18: fail is 0; it must be more than 0"},
		"load, wrong order":              {check("load: {warn: 3, fail: 2}"), "7:18: warn is 3, more than fail, which is 2; the warning comes first"},
		"ttl check without after":        {check("ttl: {}"), "7:10: a check of kind ttl needs after, as after: 30s"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := refuse(t, c.text); !strings.HasPrefix(err.Error(), "agent.yaml:"+c.want) || strings.Count(err.Error(), "\n") != strings.Count(c.want, "\n") {
				t.Errorf("got  %s\nwant agent.yaml:%s…", err, c.want)
			}
		})
	}
}

func TestTooManyServices(t *testing.T) {
	var b strings.Builder
	for i := range MaxServices + 1 {
		fmt.Fprintf(&b, "- name: s%d\n", i)
	}
	if err := refuse(t, file(b.String())); err.Error() != "agent.yaml:10005:3: this is one service too many; an agent has at most 10000" {
		t.Error(err)
	}
}

// TestAllFaultsAtOnce has a file with many faults: all of them are told, in the order of the file, and no more than
// those that are faults on their own.
func TestAllFaultsAtOnce(t *testing.T) {
	err := refuse(t, `cluster: {endpoint: [127.0.0.1:7600]}
ttl: 30
listen: {http: 127.0.0.1}
services:
- name: rollcall.x
  on_stop: stay
  checks:
  - htp: {url: x}
  - http: {url: x}
    interval: 0s
- nme: b
`)
	want := `agent.yaml:1:11: unknown key "endpoint"; did you mean endpoints?
agent.yaml:2:6: ttl: "30" has no unit; use 30s, 30m, 30h or 30d
agent.yaml:3:16: listen.http is "127.0.0.1", which is not HOST:PORT; an IPv6 address stands in brackets
agent.yaml:5:9: the service's name "rollcall.x" begins with "rollcall.", which is kept for the node's own names
agent.yaml:6:12: on_stop is "stay"; use withdraw, not_serving or leave
agent.yaml:8:5: unknown key "htp"; did you mean http?
agent.yaml:9:17: url: the URL must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH
agent.yaml:10:15: interval is 0s; it must be more than 0
agent.yaml:11:3: unknown key "nme"; did you mean name?`
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
}

func TestMoreFaultsThanAreTold(t *testing.T) {
	var b strings.Builder
	for i := range 25 {
		fmt.Fprintf(&b, "- name: rollcall.%d\n", i)
	}
	err := refuse(t, file(b.String()))
	all, ok := err.(Errors)
	if !ok || len(all) != maxFaults+1 || all[maxFaults].Error() != "agent.yaml: there are 5 more faults" {
		t.Error(err)
	}
	if len(all.Unwrap()) != len(all) {
		t.Error("not all of the faults are found by errors.As")
	}
}

// TestManyFaults has files in which nearly all is wrong: after the first faults nobody looks for more, because each takes
// time.
func TestManyFaults(t *testing.T) {
	var keys strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, text := range map[string]string{
		"keys":     keys.String(),
		"services": file(strings.Repeat("- x\n", MaxServices)),
		"names":    file(strings.Repeat("- name: rollcall.x\n", MaxServices)),
		"headers":  check("http: {url: http://127.0.0.1/, headers: {" + strings.Repeat("A: [b], ", 10_000) + "}}"),
	} {
		err := refuse(t, text)
		if all, ok := err.(Errors); name != "headers" && (!ok || len(all) != maxFaults+1 || all[maxFaults].Error() != "agent.yaml: there are many more faults") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSourceOfAnError(t *testing.T) {
	for text, want := range map[string]string{
		whole + "tll: 5s\n":                "    5 | tll: 5s\n      | ^",
		whole + "\"ttl\":\t5\r\n":          "    5 | \"ttl\": 5\n      |        ^",
		whole + "# ü\nttl: \"\\e[1m5s\"\n": "    6 | ttl: \"\\e[1m5s\"\n      |      ^",
		whole + strings.Repeat(" ", 3) + "\n\"" + strings.Repeat("ü", 200) + "\": 5s\n": "    6 | \"" + strings.Repeat("ü", 39) + "\n      | ^",
		check("command: {run: [" + strings.Repeat("ab, ", 30) + "{}]}"):                 "    7 | " + strings.Repeat("ab, ", 15) + "{}]}\n      | " + strings.Repeat(" ", 60) + "^",
	} {
		err := refuse(t, text)
		if e, ok := err.(*Error); !ok || e.Source != want {
			t.Errorf("%v\ngot\n%s\nwant\n%s", err, e.Source, want)
		}
	}
}

func TestLongValuesAreCut(t *testing.T) {
	err := refuse(t, whole+"ttl: "+strings.Repeat("é", 100_000)+"\n")
	if n := len([]rune(err.Error())); n > 600 || !strings.HasSuffix(err.Error(), "…") {
		t.Errorf("%d characters: %.700s", n, err)
	}
}
