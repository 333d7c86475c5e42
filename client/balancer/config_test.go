package balancer_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health"

	"github.com/rollcallhq/rollcall/client/balancer"
)

func TestConfigs(t *testing.T) {
	for config, want := range map[string]string{ // "": fine
		`{}`: "", `null`: "", `{"readyPercent": 1}`: "", `{"readyPercent": 100}`: "", `{"readyPercent": 50 }`: "",
		`{"readyPercent": 0}`:                    "must be from 1 to 100",
		`{"readyPercent": 101}`:                  "must be from 1 to 100",
		`{"readyPercent": -50}`:                  "must be from 1 to 100",
		`{"readyPercent": 33.3}`:                 "not of the form",
		`{"readyPercent": "50"}`:                 "not of the form",
		`{"readyPercent": "50 %"}`:               "not of the form",
		`{"readyPercent": 99999999999999999999}`: "not of the form",
		`{"readyPercentage": 50}`:                "not of the form",
		`{"readyPercent": 50, "zone": "a"}`:      "not of the form",
		`[]`:                                     "not of the form",
		`50`:                                     "not of the form",
		`"half"`:                                 "not of the form",
	} {
		t.Run(config, func(t *testing.T) {
			conn, err := grpc.NewClient("localhost:1", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig": [{"rollcall_tiers": %s}]}`, config)))
			if err == nil {
				conn.Close()
			}
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v; want %q", err, want)
			}
		})
	}
}

func TestNewErrors(t *testing.T) {
	for name, tier := range map[string]balancer.Tier{"": tierOf, "Tiers": tierOf, "my tiers": tierOf, "tiers/a": tierOf, "zählen": tierOf, "tiers": nil} {
		if b, err := balancer.New(name, tier); err == nil || b != nil {
			t.Errorf("%q was accepted", name)
		}
	}
	if b, err := balancer.New("my_tiers_2", tierOf); err != nil || b.Name() != "my_tiers_2" {
		t.Error(err)
	}
}
