package healthserver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// neverSet is what a process says of a name that it never mentions.
const neverSet = client.Status(-1)

// The whole table: what is shown of each name, for all that a process can say and a registry can think.
func TestTheRegistryCanOnlySwitchOff(t *testing.T) {
	harmless := map[string]map[string]opinion{
		"SERVING":                          {service: report(client.Serving, ""), instance: report(client.Serving, "lease-1")},
		"UNKNOWN":                          {service: report(client.Unknown, ""), instance: report(client.Unknown, "lease-1")},
		"no entry":                         {service: absent(), instance: absent()},
		"instance off by its own report":   {service: absent(), instance: report(client.NotServing, "lease-1")},
		"instance off by another's report": {service: absent(), instance: report(client.NotServing, "")},
		"override says SERVING":            {service: overridden(client.Serving), instance: overridden(client.Serving)},
		"override says UNKNOWN":            {service: overridden(client.Unknown), instance: overridden(client.Unknown)},
		"not heard":                        {},
	}
	off := map[string]map[string]opinion{
		"service by report":                {service: report(client.NotServing, ""), instance: absent()},
		"service by override":              {service: overridden(client.NotServing), instance: absent()},
		"instance by override":             {service: report(client.Serving, ""), instance: overridden(client.NotServing)},
		"instance, and service not heard":  {instance: overridden(client.NotServing)},
		"service, and instance not heard":  {service: report(client.NotServing, "")},
		"both":                             {service: overridden(client.NotServing), instance: overridden(client.NotServing)},
		"service held of another cluster":  {service: held(report(client.NotServing, "")), instance: absent()},
		"instance held of another cluster": {service: absent(), instance: held(overridden(client.NotServing))},
	}
	rows := []struct {
		name           string
		says           client.Status
		shown, shownOf client.Status // while harmless, while off
	}{
		{"", client.Serving, client.Serving, client.NotServing},
		{"", client.Unknown, client.Unknown, client.NotServing},
		{"", client.NotServing, client.NotServing, client.NotServing},
		{"shop.v1.Cart", client.Serving, client.Serving, client.NotServing},
		{"shop.v1.Cart", client.Unknown, client.Unknown, client.NotServing},
		{"shop.v1.Cart", client.NotServing, client.NotServing, client.NotServing},
		{"shop.v1.Cart", client.ServiceUnknown, client.ServiceUnknown, client.ServiceUnknown},
		{"shop.v1.Cart", neverSet, neverSet, neverSet},
		{service, client.Serving, client.Serving, client.NotServing},
		{service, client.Unknown, client.Unknown, client.NotServing},
		{service, client.NotServing, client.NotServing, client.NotServing},
		{service, client.ServiceUnknown, client.ServiceUnknown, client.ServiceUnknown},
		{service, neverSet, client.Serving, client.NotServing}, // as "", which is SERVING from the start
		{instance, neverSet, neverSet, neverSet},
		{"liveness", client.Serving, client.Serving, client.Serving},
		{"liveness", client.Unknown, client.Unknown, client.Unknown},
		{"liveness", client.NotServing, client.NotServing, client.NotServing},
		{"liveness", client.ServiceUnknown, client.ServiceUnknown, client.ServiceUnknown},
		{"liveness", neverSet, client.Serving, client.Serving},
		{"alive", neverSet, client.Serving, client.Serving}, // WithUnmerged
		{"alive", client.NotServing, client.NotServing, client.NotServing},
	}
	for _, row := range rows {
		for label, opinions := range harmless {
			t.Run(fmt.Sprintf("%q/%v/%s", row.name, row.says, label), func(t *testing.T) {
				testRow(t, opinions, row.name, row.says, row.shown)
			})
		}
		for label, opinions := range off {
			t.Run(fmt.Sprintf("%q/%v/off/%s", row.name, row.says, label), func(t *testing.T) {
				testRow(t, opinions, row.name, row.says, row.shownOf)
			})
		}
	}
}

// testRow asks by Check, List and Watch.
func testRow(t *testing.T, opinions map[string]opinion, name string, says, want client.Status) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.say(opinions)
		s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address), WithUnmerged("alive"), WithInitialWait(0))
		run(t, s)
		if says != neverSet {
			s.SetServingStatus(name, says)
		}
		w := watch(t, s, name)
		synctest.Wait()
		got, err := check(t, s, name)
		switch {
		case want == neverSet && status.Code(err) != codes.NotFound:
			t.Errorf("Check answers %v, %v, want NOT_FOUND", got, err)
		case want != neverSet && (err != nil || got != want):
			t.Errorf("Check answers %v, %v, want %v", got, err, want)
		}
		list, err := s.List(context.Background(), &healthpb.HealthListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		answer, listed := list.GetStatuses()[name]
		if listed != (says != neverSet || name == "") || listed && answer.GetStatus() != want {
			t.Errorf("List has %v of it (%v), want %v", answer.GetStatus(), listed, want)
		}
		if want == neverSet {
			want = client.ServiceUnknown
		}
		if got := w.all(); !slices.Equal(got, []client.Status{want}) {
			t.Errorf("Watch sent %v, want %v", got, want)
		}
	})
}

// held is an opinion that a view keeps because the cluster is another one.
func held(o opinion) opinion {
	o.Held = true
	return o
}

func TestServiceAnswersAsTheWholeUntilItIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t)
		w := watch(t, s, service)
		for _, step := range []struct {
			do   func()
			want client.Status
		}{
			{func() {}, client.Serving},
			{func() { s.SetServingStatus("", client.Unknown) }, client.Unknown},
			{func() { s.SetServingStatus("", client.NotServing) }, client.NotServing},
			{func() { s.SetServingStatus(service, client.Serving) }, client.Serving},
			{func() { s.SetServingStatus("", client.Unknown) }, client.Serving},
			{func() { s.SetServingStatus(service, client.ServiceUnknown) }, client.ServiceUnknown},
			{s.Shutdown, client.NotServing},
			{s.Resume, client.Serving},
		} {
			step.do()
			synctest.Wait()
			if got, err := check(t, s, service); err != nil || got != step.want {
				t.Errorf("Check answers %v, %v, want %v", got, err, step.want)
			}
			if got := w.last(); got != step.want {
				t.Errorf("Watch sent %v last, want %v", got, step.want)
			}
		}
	})
}

func TestListIsLimitedAsTheOriginal(t *testing.T) {
	src := newFakeSource()
	src.say(map[string]opinion{service: report(client.NotServing, "")})
	s := mustNew(t, withRegistry(src, &fakeLease{}))
	for i := range 100 {
		s.SetServingStatus(fmt.Sprint(i), client.Serving)
	}
	if _, err := s.List(context.Background(), &healthpb.HealthListRequest{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("101 names are listed: %v", err)
	}
}

// The answers of List are the caller's own.
func TestListDoesNotChangeWhatTheProcessSays(t *testing.T) {
	src := newFakeSource()
	src.say(map[string]opinion{service: report(client.NotServing, "")})
	s := mustNew(t, withRegistry(src, &fakeLease{}))
	if _, err := s.List(context.Background(), &healthpb.HealthListRequest{}); err != nil {
		t.Fatal(err)
	}
	if got, err := check(t, s.Server, ""); err != nil || got != client.Serving {
		t.Errorf("the process says %v, %v", got, err)
	}
}
