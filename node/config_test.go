package node

import (
	"strings"
	"testing"
	"time"
)

func TestHistoryLimitsAreValidated(t *testing.T) {
	for _, tt := range []struct {
		events int
		age    time.Duration
		want   string // "": valid
	}{
		{1, 0, ""},
		{1_000_000, 720 * time.Hour, ""},
		{1, time.Second, ""},
		{0, 0, "history-events is 0; it must be at least 1"},
		{-3, 0, "history-events is -3"},
		{1, -time.Hour, "history-age is -1h0m0s; it must be 0, for no limit, or at least 1s"},
		{1, 720, "history-age is 720ns"},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.DataDir = "n1", "data"
		cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
		cfg.HistoryEvents, cfg.HistoryAge = tt.events, tt.age
		err := cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d, %v: %v, want %q", tt.events, tt.age, err, tt.want)
		}
	}
}

func TestTheLeaseGuardIsValidated(t *testing.T) {
	for _, tt := range []struct {
		least, percent int
		longest        time.Duration
		want           string // "": valid
	}{
		{10, 50, time.Hour, ""},
		{1, 100, time.Second, ""},
		{0, 50, time.Hour, "--lease-guard-min is 0; it must be at least 1"},
		{10, 0, time.Hour, "--lease-guard-percent is 0; it must be 1 to 100"},
		{10, 101, time.Hour, "--lease-guard-percent is 101"},
		{10, 50, 60, "--lease-guard-max is 60ns; it must be at least 1s"},
		{10, 50, -time.Hour, "--lease-guard-max is -1h0m0s"},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.DataDir = "n1", "data"
		cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
		cfg.LeaseGuardMin, cfg.LeaseGuardPercent, cfg.LeaseGuardMax = tt.least, tt.percent, tt.longest
		err := cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d, %d, %v: %v, want %q", tt.least, tt.percent, tt.longest, err, tt.want)
		}
	}
}

func TestJoiningIsValidated(t *testing.T) {
	member := Member{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}
	join := func(change func(*Config)) func(*Config) {
		return func(c *Config) {
			c.Join, c.AdvertiseAPI, c.AdvertisePeer = []string{"10.0.0.1:7601", "127.0.0.1:7641"}, "127.0.0.1:7640", "127.0.0.1:7641"
			if change != nil {
				change(c)
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string // "": valid
	}{
		"nobody":                {func(*Config) {}, "no members given"},
		"members":               {func(c *Config) { c.Members = []Member{member} }, ""},
		"join":                  {join(nil), ""}, // its own address among the seeds is no mistake
		"a replica":             {join(func(c *Config) { c.Replica = true }), ""},
		"both":                  {join(func(c *Config) { c.Members = []Member{member} }), "--join and --member are both given"},
		"forced":                {join(func(c *Config) { c.ForceBootstrap = true }), "--join and --force-bootstrap are both given"},
		"a replica of nobody":   {func(c *Config) { c.Members, c.Replica = []Member{member}, true }, "--replica is for a node that is added to a cluster: give --join"},
		"advertised to nobody":  {func(c *Config) { c.Members, c.AdvertiseAPI = []Member{member}, "127.0.0.1:1" }, "--advertise-api and --advertise-peer are for a node that is added"},
		"no API address":        {join(func(c *Config) { c.AdvertiseAPI = "" }), "--join needs --advertise-api and --advertise-peer"},
		"no peer address":       {join(func(c *Config) { c.AdvertisePeer = "" }), "--join needs --advertise-api and --advertise-peer"},
		"one address for both":  {join(func(c *Config) { c.AdvertisePeer = c.AdvertiseAPI }), "--advertise-api and --advertise-peer are both 127.0.0.1:7640"},
		"a seed without a port": {join(func(c *Config) { c.Join[0] = "n1" }), `address of --join "n1" is not host:port`},
		"an empty seed":         {join(func(c *Config) { c.Join[0] = "" }), `address of --join "" is not host:port`},
		"a seed that is a URL":  {join(func(c *Config) { c.Join[0] = "http://n1:7601" }), `address of --join "http://n1:7601" is not host:port`},
		"a seed twice":          {join(func(c *Config) { c.Join[1] = c.Join[0] }), "address of --join 10.0.0.1:7601 is given twice"},
		"advertised everywhere": {join(func(c *Config) { c.AdvertisePeer, c.Insecure = "[::]:7601", true }), `address of --advertise-peer "[::]:7601" is where a node can listen, but nobody can reach it; give the address of its machine; --peer-listen says where it listens`},
		"an API everywhere":     {join(func(c *Config) { c.AdvertiseAPI, c.Insecure = "0.0.0.0:7600", true }), `address of --advertise-api "0.0.0.0:7600" is where a node can listen, but nobody can reach it; give the address of its machine; --api-listen says where it listens`},
		"advertised at port 0":  {join(func(c *Config) { c.AdvertisePeer = "127.0.0.1:0" }), `address of --advertise-peer "127.0.0.1:0": its port must be a number from 1 to 65535`},
		"too many":              {join(func(c *Config) { c.Join = make([]string, maxSeeds+1) }), "33 addresses to join given; at most 32 are allowed"},
		"a bad name":            {join(func(c *Config) { c.Name = "N4" }), `node name "N4" is not allowed`},
		"a bad port":            {join(func(c *Config) { c.AdvertisePeer = "127.0.0.1:peer" }), `address of --advertise-peer "127.0.0.1:peer": port "peer" is not a number`},
		"plain text anywhere":   {join(func(c *Config) { c.AdvertiseAPI = "10.0.0.4:7600" }), "address of --advertise-api 10.0.0.4:7600 is beyond loopback and its traffic would be plain text"},
		"allowed anywhere":      {join(func(c *Config) { c.AdvertiseAPI, c.Insecure = "10.0.0.4:7600", true }), ""},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.DataDir = "n1", "data"
		test.change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
