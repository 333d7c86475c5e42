package aware_test

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/client/aware"
)

func mustConfig(t *testing.T, o aware.Options) string {
	t.Helper()
	config, err := aware.ServiceConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestServiceConfig(t *testing.T) {
	const retries = `"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.1s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}`
	for name, test := range map[string]struct {
		options aware.Options
		want    string
	}{
		"zero": {aware.Options{},
			`{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":""},"methodConfig":[{"name":[{}],` + retries + `}],"retryThrottling":{"maxTokens":1000,"tokenRatio":1}}`},
		"all": {aware.Options{Service: "shop/checkout", Policy: "least_request_experimental", PolicyConfig: json.RawMessage(`{"choiceCount":3}`),
			Unsafe: []string{"/shop.Checkout/Pay", "/shop.Admin/", "/shop.Checkout/Pay"}},
			`{"loadBalancingConfig":[{"least_request_experimental":{"choiceCount":3}}],"healthCheckConfig":{"serviceName":"shop/checkout"},` +
				`"methodConfig":[{"name":[{}],` + retries + `},{"name":[{"service":"shop.Checkout","method":"Pay"},{"service":"shop.Admin"}]}],"retryThrottling":{"maxTokens":1000,"tokenRatio":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := mustConfig(t, test.options)
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			conn, err := grpc.NewClient("localhost:1", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(got))
			if err != nil {
				t.Fatalf("gRPC refuses it: %v", err)
			}
			conn.Close()
		})
	}
}

func TestServiceConfigErrors(t *testing.T) {
	for name, test := range map[string]struct {
		options aware.Options
		want    string
	}{
		"pick_first":          {aware.Options{Policy: "pick_first"}, "ignores health"},
		"PICK_FIRST":          {aware.Options{Policy: "PICK_FIRST"}, "ignores health"},
		"service's encoding":  {aware.Options{Service: "check\xffout"}, "UTF-8"},
		"config's syntax":     {aware.Options{PolicyConfig: json.RawMessage("{")}, "JSON object"},
		"config is empty":     {aware.Options{PolicyConfig: json.RawMessage{}}, "JSON object"},
		"config is a number":  {aware.Options{PolicyConfig: json.RawMessage("1")}, "JSON object"},
		"config goes on":      {aware.Options{PolicyConfig: json.RawMessage("{} {}")}, "JSON object"},
		"unsafe is empty":     {aware.Options{Unsafe: []string{""}}, "neither"},
		"unsafe is all":       {aware.Options{Unsafe: []string{"/"}}, "neither"},
		"unsafe has no slash": {aware.Options{Unsafe: []string{"shop.Checkout/Pay"}}, "neither"},
		"unsafe has one":      {aware.Options{Unsafe: []string{"/shop.Checkout"}}, "neither"},
		"unsafe has three":    {aware.Options{Unsafe: []string{"/shop.Checkout/Pay/Now"}}, "neither"},
		"unsafe is a pattern": {aware.Options{Unsafe: []string{"/shop.Checkout/Pay *"}}, "neither"},
		"unsafe is not ASCII": {aware.Options{Unsafe: []string{"/shop.Kasse/Zählen"}}, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			if config, err := aware.ServiceConfig(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q, %v; want %q", config, err, test.want)
			}
		})
	}
}
