package healthserver

import "testing"

// TestInstancesThatNobodyFinds: client/resolver skips these names, so a process that had one would be registered and
// get no call.
func TestInstancesThatNobodyFinds(t *testing.T) {
	for instance, want := range map[string]bool{
		"[::1]:80": true, "HOST:80": true, "host.:80": true, "host_1.example:65535": true, "[::ffff:10.0.0.1]:80": true, "xn--huser-gra.example:80": true,
		"unix:80": false, "-host:80": false, "häuser:80": false, "ho\xffst:80": false, "ho;st:80": false, "host(1):80": false, "[host;1]:80": false,
		"host:0": false, "host:99999": false, "host:080": false, "host:+80": false, ".:80": false, "...:80": false,
	} {
		if _, err := New("checkout", WithInstance(instance)); (err == nil) != want {
			t.Errorf("%q: %v; taken: %v, want %v", instance, err, err == nil, want)
		}
	}
}
