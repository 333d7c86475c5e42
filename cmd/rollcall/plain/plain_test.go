package plain

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"listen for the API: listen tcp 127.0.0.1:21700: bind: address already in use":                 "listen for the API: the address 127.0.0.1:21700 is in use by another process",
		"listen for HTTP: listen tcp 192.0.2.7:7600: bind: cannot assign requested address":            "listen for HTTP: 192.0.2.7:7600 is no address of this machine",
		"listen for HTTP: listen tcp :80: bind: permission denied":                                     "listen for HTTP: :80 is a port that only a privileged user may serve on",
		"listen tcp: lookup nohost.invalid on 10.255.255.53:53: no such host":                          "the host nohost.invalid is not known",
		"did/identity.json: damaged: invalid character 'x' looking for beginning of object key string": "did/identity.json: damaged: it is no valid JSON",
		"did/identity.json: damaged: unexpected end of JSON input":                                     "did/identity.json: damaged: it is no valid JSON",
		"envelope: proto:\u00a0cannot parse invalid wire-format data":                                  "envelope: it cannot be decoded",
		`strconv.ParseInt: parsing "abc": invalid syntax`:                                              `"abc" is no number`,
		`time: missing unit in duration "5"`:                                                           `"5" has no unit`,
		`time: unknown unit "x" in duration "5x"`:                                                      `"5x" is no duration`,
		"raft.db: damaged: file size too small 5000; leave it stopped":                                 "raft.db: damaged: the file is cut short; leave it stopped",
		"read the header: unexpected EOF":                                                              "read the header: it ends too early",
		"open nosuch: no such file or directory":                                                       "cannot open nosuch: no such file or directory",
		"make the data directory: mkdir afile: not a directory":                                        "make the data directory: cannot make the directory afile: not a directory",
		"d/wal cannot be written: new segment: fallocate d/wal/01.wal: no space left on device":        "d/wal cannot be written: new segment: there is no room for d/wal/01.wal: no space left on device",
		"write /data/registry.db: no space left on device":                                             "cannot write /data/registry.db: no space left on device",
		"a: context deadline exceeded: context deadline exceeded":                                      "a: no answer in time",
		"drain-delay is 48h0m0s; it must be from 0 to 1m0s":                                            "drain-delay is 48h; it must be from 0 to 1m",
		"retry after 1h0m5s": "retry after 1h0m5s",
		`n2: connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`: "n2: connection refused",
		"could not make sure of rollcall-consistency linearizable in time":                                                 "could not make sure of --linearizable in time",
		"did not reach rollcall-min-revision 99999 in time":                                                                "did not reach --min-revision 99999 in time",
		`"x" does not exist; if_revision asks for revision 5`:                                                              `"x" does not exist; --if-revision asks for revision 5`,
		`request_id "x1" was used`:                                  `--request-id "x1" was used`,
		"cannot set a: request_id is 300 bytes long":                "cannot set a: --request-id is 300 bytes long",
		"cannot set a: request_id U+0020 at byte 2 is not allowed":  "cannot set a: --request-id U+0020 at byte 2 is not allowed",
		"cannot set a: reason U+001B at byte 4 is not allowed":      "cannot set a: --reason U+001B at byte 4 is not allowed",
		"cannot set a: actor is 300 bytes long":                     "cannot set a: --actor is 300 bytes long",
		"cannot get a: the reason is 5 bytes long":                  "cannot get a: the reason is 5 bytes long",
		"rpc error: code = Unavailable desc = the node is stopping": "the node is stopping",
		`"shop/EOF" does not exist`:                                 `"shop/EOF" does not exist`,
		`no service begins with "open/read"`:                        `no service begins with "open/read"`,
		"cannot set shop/cart: it is at revision 7":                 "cannot set shop/cart: it is at revision 7",
		"write NAME,host=HOST or NAME,api=HOST:PORT,peer=HOST:PORT": "write NAME,host=HOST or NAME,api=HOST:PORT,peer=HOST:PORT",
	} {
		if got := Text(in); got != want {
			t.Errorf("%s:\n%s, want\n%s", in, got, want)
		}
	}
}
