package aware

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// said is a view that says what a test sets.
type said struct {
	mu       sync.Mutex
	opinions map[string]view.Opinion
}

func (s *said) Get(name string) view.Opinion {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opinions[name]
}

func (s *said) set(name string, o view.Opinion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opinions[name] = o
}

func off(who, why string) view.Opinion {
	return view.Opinion{Off: true, Heard: true, Status: client.NotServing, Revision: 7, Cluster: "3f9a", Record: &rollcallv1.ServiceRecord{
		Service: "checkout", Status: client.NotServing,
		Report: &rollcallv1.Report{Status: client.NotServing, Reason: why, Actor: &rollcallv1.Actor{Name: who}, Revision: 7},
	}}
}

func gateOf(t *testing.T, opinions map[string]view.Opinion, m Mapping) (*gate, *said) {
	t.Helper()
	var names []string
	for name := range opinions {
		names = append(names, name)
	}
	targets, err := m.compile(names)
	if err != nil {
		t.Fatal(err)
	}
	s := &said{opinions: opinions}
	return &gate{view: s, targets: targets}, s
}

// unary reports whether a call was made, and its error.
func unary(g *gate, method string) (made bool, err error) {
	err = g.unary(context.Background(), method, nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
		made = true
		return nil
	})
	return made, err
}

func stream(g *gate, method string) (made bool, err error) {
	_, err = g.stream(context.Background(), nil, nil, method, func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
		made = true
		return nil, nil
	})
	return made, err
}

func TestOnlyOffRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		opinion view.Opinion
		refused bool
	}{
		"not heard":       {view.Opinion{}, false},
		"SERVING":         {view.Opinion{Heard: true, Status: client.Serving}, false},
		"UNKNOWN":         {view.Opinion{Heard: true, Status: client.Unknown}, false},
		"SERVICE_UNKNOWN": {view.Opinion{Heard: true, Status: client.ServiceUnknown}, false},
		"NOT_SERVING":     {off("ann", "moving"), true},
		"held":            {view.Opinion{Off: true, Held: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := gateOf(t, map[string]view.Opinion{"checkout": test.opinion}, Mapping{"": "checkout"})
			for kind, call := range map[string]func(*gate, string) (bool, error){"unary": unary, "stream": stream} {
				made, err := call(g, "/shop.Checkout/Pay")
				if made == test.refused || (err != nil) != test.refused {
					t.Errorf("%s: made: %v, %v", kind, made, err)
				}
				if test.refused && status.Code(err) != codes.Unavailable {
					t.Errorf("%s: %v", kind, err)
				}
			}
		})
	}
}

func TestTheMostExactKeyDecides(t *testing.T) {
	opinions := map[string]view.Opinion{"off": off("ann", "moving"), "on": {Heard: true, Status: client.Serving}}
	for name, test := range map[string]struct {
		mapping Mapping
		method  string
		refused bool
	}{
		"method over service":          {Mapping{"/a.B/C": "on", "/a.B/": "off", "": "off"}, "/a.B/C", false},
		"method off":                   {Mapping{"/a.B/C": "off", "/a.B/": "on", "": "on"}, "/a.B/C", true},
		"service over all":             {Mapping{"/a.B/C": "on", "/a.B/": "off", "": "on"}, "/a.B/D", true},
		"all":                          {Mapping{"/a.B/C": "on", "/a.B/": "on", "": "off"}, "/a.BC/D", true},
		"not mapped":                   {Mapping{"/a.B/C": "off", "/a.X/": "off"}, "/a.B/D", false},
		"names are told apart by case": {Mapping{"/a.B/C": "off"}, "/a.B/c", false},
		"a part is not the whole":      {Mapping{"/a.B/": "off"}, "/a.B.C/D", false},
		"health checks go on":          {Mapping{"": "off"}, "/grpc.health.v1.Health/Check", false},
		"health watches, too":          {Mapping{"": "off"}, "/grpc.health.v1.Health/Watch", false},
		"nearly a health check":        {Mapping{"": "off"}, "/grpc.health.v1.HealthX/Check", true},
		"a method without slashes":     {Mapping{"": "off", "/a.B/": "on"}, "Pay", true},
		"an empty method":              {Mapping{"/a.B/": "off"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := gateOf(t, opinions, test.mapping)
			if made, err := unary(g, test.method); made == test.refused {
				t.Errorf("made: %v, %v", made, err)
			}
			if made, err := stream(g, test.method); made == test.refused {
				t.Errorf("made: %v, %v", made, err)
			}
		})
	}
}

type counter struct {
	mu    sync.Mutex
	calls map[string]int
}

func (c *counter) Refused(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[service]++
}

func TestObserverCountsRefusals(t *testing.T) {
	c := &counter{calls: map[string]int{}}
	g, _ := gateOf(t, map[string]view.Opinion{"cart": off("", ""), "pay": off("", ""), "on": {Heard: true}}, Mapping{"/a.Cart/": "cart", "/a.Pay/": "pay", "": "on"})
	if err := WithObserver(c)(g); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"/a.Cart/Get", "/a.Pay/Pay", "/a.Pay/Back", "/a.Other/X"} {
		_, _ = unary(g, method)
		_, _ = stream(g, method)
	}
	if got := fmt.Sprint(c.calls); got != "map[cart:2 pay:4]" {
		t.Error(got)
	}
}

func TestManyCallersWhileTheViewChanges(t *testing.T) {
	g, s := gateOf(t, map[string]view.Opinion{"checkout": {}}, Mapping{"/a.B/": "checkout"})
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := unary(g, "/a.B/C"); err != nil {
					info := infoOf(t, err)
					if info.GetMetadata()["who"] != info.GetMetadata()["why"] {
						t.Errorf("of two changes: %v", info)
						return
					}
				}
			}
		})
	}
	for i := range 2000 {
		text := fmt.Sprint(i)
		o := off(text, text)
		o.Revision = int64(i)
		s.set("checkout", o)
		if i%3 == 0 {
			s.set("checkout", view.Opinion{Heard: true})
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestConstruction(t *testing.T) {
	cfg := client.DefaultConfig()
	cfg.Endpoints = []string{"127.0.0.1:1"}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v, err := view.New(c, []string{"checkout", "shop/cart"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		view    *view.View
		mapping Mapping
		options []InterceptorOption
		want    string // "": fine
	}{
		"fine":                    {v, Mapping{"/shop.Cart/": "shop/cart", "/shop.Cart/Pay": "checkout", "": "checkout"}, nil, ""},
		"a service of no package": {v, Mapping{"/Cart/": "shop/cart"}, nil, ""},
		"nil view":                {nil, Mapping{"": "checkout"}, nil, "view is nil"},
		"nil mapping":             {v, nil, nil, "mapping is empty"},
		"empty mapping":           {v, Mapping{}, nil, "mapping is empty"},
		"not a name of the view":  {v, Mapping{"": "chekout"}, nil, `"chekout" is not a name of the view, which has ["checkout" "shop/cart"]`},
		"no name":                 {v, Mapping{"/a.B/C": ""}, nil, `"" is not a name of the view`},
		"a slash only":            {v, Mapping{"/": "checkout"}, nil, "neither a method"},
		"two slashes":             {v, Mapping{"//": "checkout"}, nil, "neither a method"},
		"no first slash":          {v, Mapping{"a.B/C": "checkout"}, nil, "neither a method"},
		"no second slash":         {v, Mapping{"/a.B": "checkout"}, nil, "neither a method"},
		"a third slash":           {v, Mapping{"/a.B/C/": "checkout"}, nil, "neither a method"},
		"a star":                  {v, Mapping{"/a.B/*": "checkout"}, nil, "neither a method"},
		"a space":                 {v, Mapping{"/a.B/C ": "checkout"}, nil, "neither a method"},
		"a line":                  {v, Mapping{"/a.B/C\n": "checkout"}, nil, "neither a method"},
		"a health check":          {v, Mapping{"/grpc.health.v1.Health/Check": "checkout"}, nil, "never refused"},
		"all health checks":       {v, Mapping{"/grpc.health.v1.Health/": "checkout"}, nil, "never refused"},
		"nil option":              {v, Mapping{"": "checkout"}, []InterceptorOption{nil}, "option is nil"},
		"nil observer":            {v, Mapping{"": "checkout"}, []InterceptorOption{WithObserver(nil)}, "observer is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err1 := UnaryInterceptor(test.view, test.mapping, test.options...)
			s, err2 := StreamInterceptor(test.view, test.mapping, test.options...)
			conn, err3 := Dial("localhost:1", "checkout", WithView(test.view, test.mapping, test.options...))
			if conn != nil {
				conn.Close()
			}
			for _, err := range []error{err1, err2, err3} {
				switch {
				case test.want == "" && err != nil:
					t.Error(err)
				case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
					t.Errorf("%v; want %q", err, test.want)
				}
			}
			if ok := test.want == ""; (u != nil) != ok || (s != nil) != ok || (conn != nil) != ok {
				t.Error("a result beside an error, or none")
			}
		})
	}
}

// TestTheMappingIsCopied: a program may go on with its own.
func TestTheMappingIsCopied(t *testing.T) {
	m := Mapping{"/a.B/": "checkout"}
	g, _ := gateOf(t, map[string]view.Opinion{"checkout": off("", "")}, m)
	delete(m, "/a.B/")
	if made, err := unary(g, "/a.B/C"); made || err == nil {
		t.Error("the mapping changed")
	}
}
