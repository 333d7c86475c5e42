package agent

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
)

// TestAgainstANaiveModel does random things to an agent and its registry, and compares after each what is shown and
// what is reported with a model that knows no time, no lease and no view. A reload may change only what its services
// say. MODEL_SEED repeats a run.
func TestAgainstANaiveModel(t *testing.T) {
	first, runs := rand.Uint64(), 30
	if s, err := strconv.ParseUint(os.Getenv("MODEL_SEED"), 10, 64); err == nil {
		first, runs = s, 1
	}
	for i := range runs {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) { newModel(t, seed).run(60) })
		if t.Failed() {
			t.Fatalf("MODEL_SEED=%d", seed)
		}
	}
}

// model is an agent beside what it should say.
type model struct {
	t      *testing.T
	r      *rand.Rand
	reg    *fakeRegistry
	agent  *running
	now    map[string]*modelService
	probes map[string]*probe // by service, check and spec
	log    []string

	silent bool
	heard  map[string]client.Status // what the registry says, when it was last heard, of NAME and NAME/INSTANCE; by override or not at all of the latter
	held   map[string]bool          // service: switched off by an override of its instance
	// dropped are services that the last reload took a push from: what the checks said counts again, until they have
	// run anew.
	dropped map[string]bool
	left    map[string]client.Status // what services that are gone have left in the registry
}

type modelService struct {
	cfg    config.Service
	pushed *client.Status
	own    client.Status // what it says
	spoke  bool
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), reg: newFakeRegistry(), now: map[string]*modelService{}, probes: map[string]*probe{},
		left: map[string]client.Status{}, held: map[string]bool{}, dropped: map[string]bool{},
	}
	m.agent = start(t, m.reg, m.next())
	time.Sleep(settles)
	m.settle()
	return m
}

// settles is longer than any pause of the agent, but that of a new reason alone, and than the interval of the checks.
const settles = 7 * time.Second

var modelNames = []string{"shop/cart", "shop/till", "shop", "bank"}

func (m *model) run(steps int) {
	for range steps {
		before := map[string]client.Status{}
		for name := range m.now {
			before[name] = m.agent.board.look(name)
		}
		changed := map[string]<-chan struct{}{}
		for _, name := range modelNames {
			changed[name] = m.agent.changed(name)
		}
		clear(m.dropped)
		what := m.step()
		m.log = append(m.log, what)
		time.Sleep(settles)
		m.settle()
		for name, s := range m.now {
			was, known := before[name]
			if !known || was != m.shown(name, s) || m.dropped[name] {
				continue
			}
			synctest.Wait()
			select {
			case <-changed[name]:
				m.errorf("%s was shown differently on the way", name)
			default:
			}
		}
		if m.t.Failed() {
			return
		}
	}
}

// step does one thing and says what.
func (m *model) step() string {
	name := modelNames[m.r.IntN(len(modelNames))]
	st := []client.Status{serving, notServing, unknown}[m.r.IntN(3)]
	switch m.r.IntN(8) {
	case 0:
		for key, p := range m.probes {
			if m.r.IntN(3) == 0 {
				p.failing.Store(!p.failing.Load())
				return fmt.Sprintf("check %s fails: %t", key, p.failing.Load())
			}
		}
	case 1, 2:
		s := m.now[name]
		err := m.agent.push(name, st, "")
		switch {
		case s == nil && err != errNotWatched, s != nil && !s.cfg.Pushable() && err != errNotPushable, s != nil && s.cfg.Pushable() && err != nil:
			m.errorf("push of %s returns %v", name, err)
		case err == nil:
			s.pushed = &st
		}
		return fmt.Sprintf("push %s %v: %v", name, st, err)
	case 3:
		if err := m.agent.release(name); err == nil {
			m.now[name].pushed = nil
			return "release " + name
		}
	case 4:
		pattern := name + []string{"", "/*", "/" + address}[m.r.IntN(3)]
		s := []client.Status{serving, notServing, missing}[m.r.IntN(3)]
		m.reg.override(pattern, s)
		return fmt.Sprintf("override %s %v", pattern, s)
	case 5:
		s := []client.Status{serving, notServing, missing}[m.r.IntN(3)]
		m.reg.set(name, s)
		return fmt.Sprintf("report %s %v", name, s)
	case 6:
		m.silent = !m.silent
		m.reg.hush(m.silent)
		return fmt.Sprintf("silent: %t", m.silent)
	default:
		cfg := m.next()
		if err := m.agent.Reload(cfg); err != nil {
			m.errorf("Reload returns %v", err)
		}
		var all []string
		for _, s := range cfg.Services {
			all = append(all, fmt.Sprintf("%s %v %d checks", s.Name, s.OnStop, len(s.Checks)))
		}
		return fmt.Sprintf("reload %q", all)
	}
	return "nothing"
}

// next makes a configuration, which is much as the one of now.
func (m *model) next() *config.Config {
	cfg := file()
	for _, name := range modelNames {
		old := m.now[name]
		keep := m.r.IntN(4) > 0
		switch {
		case old != nil && keep && m.r.IntN(2) == 0:
			cfg.Services = append(cfg.Services, old.cfg)
			continue
		case !keep:
			if old != nil {
				m.leave(old)
			}
			continue
		}
		s := watched(name)
		s.OnStop = []client.OnStop{client.StopNotServing, client.StopWithdraw, client.StopLeave}[m.r.IntN(3)]
		for _, check := range []string{"a", "b"}[:m.r.IntN(3)] {
			spec := fmt.Sprint(m.r.IntN(2))
			key := name + " " + check + " " + spec
			if m.probes[key] == nil {
				m.probes[key] = &probe{}
			}
			s.Checks = append(s.Checks, checked(check, spec, m.probes[key]))
		}
		s.Push = m.r.IntN(2) == 0
		cfg.Services = append(cfg.Services, s)
		if old == nil {
			delete(m.held, name)
			m.now[name] = &modelService{own: unknown}
		}
		one := m.now[name]
		one.cfg = s
		if !s.Pushable() {
			m.dropped[name] = one.pushed != nil
			one.pushed = nil
		}
	}
	return cfg
}

// leave notes what a service leaves in the registry.
func (m *model) leave(s *modelService) {
	name := s.cfg.Name
	delete(m.now, name)
	delete(m.heard, name)
	if !s.spoke {
		return
	}
	delete(m.left, name)
	switch s.cfg.OnStop {
	case client.StopNotServing:
		m.left[name] = notServing
	case client.StopLeave:
		m.left[name] = s.own
	}
}

// settle makes the model what it is when all has come to rest, and compares.
func (m *model) settle() {
	for name, s := range m.now {
		s.say(m.probes)
		if record, ok := m.reg.record(name + "/" + address); !s.spoke {
			left, was := m.left[name]
			if ok != was || ok && record.status != left {
				m.errorf("%s/%s was reported %v before anything was said", name, address, record.status)
			}
		} else if !ok || record.status != s.own {
			m.errorf("%s/%s is reported %v (there is one: %v), want %v", name, address, record.status, ok, s.own)
		}
	}
	for _, name := range modelNames {
		if m.now[name] != nil {
			continue
		}
		record, ok := m.reg.record(name + "/" + address)
		if left, want := m.left[name]; ok != want || ok && record.status != left {
			m.errorf("%s/%s is %v (there is one: %v) when its service is gone, want %v, %v", name, address, record.status, ok, left, want)
		}
	}
	if !m.silent {
		m.listen()
	}
	for name, s := range m.now {
		if got, want := m.agent.board.look(name), m.shown(name, s); got != want {
			m.errorf("%s shows as %v, want %v", name, got, want)
		}
	}
}

// say makes what a service says of itself.
func (s *modelService) say(probes map[string]*probe) {
	s.own = unknown
	if len(s.cfg.Checks) > 0 {
		s.own, s.spoke = serving, true
	}
	for _, c := range s.cfg.Checks {
		if probes[s.cfg.Name+" "+c.Name+" "+c.Spec].failing.Load() {
			s.own = notServing
		}
	}
	if s.pushed == nil {
		return
	}
	s.spoke = true
	if len(s.cfg.Checks) == 0 || worse(*s.pushed, s.own) {
		s.own = *s.pushed
	}
}

// listen hears the registry.
func (m *model) listen() {
	m.heard = map[string]client.Status{}
	m.reg.mu.Lock()
	defer m.reg.mu.Unlock()
	for name := range m.now {
		m.heard[name] = m.reg.opinion(name).Status
		own := m.reg.opinion(name + "/" + address)
		if own.Record != nil {
			m.held[name] = own.OffByOverride()
		}
	}
}

// shown is what local clients should be told.
func (m *model) shown(name string, s *modelService) client.Status {
	if m.heard[name] == notServing || m.held[name] {
		return notServing
	}
	return s.own
}

func (m *model) errorf(format string, args ...any) {
	m.t.Helper()
	m.t.Errorf(format, args...)
	for _, line := range m.log {
		m.t.Log(line)
	}
	m.log = nil
}
