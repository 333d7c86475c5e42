package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/devcluster"
	"github.com/rollcallhq/rollcall/fsm/access"
)

const (
	devTokenFile = "admin.token" // of the data of a dev cluster
	devTokenName = "admin"
)

// devChange is who changes access, and why.
func devChange() client.WriteOptions {
	return client.WriteOptions{Actor: "rollcall dev", Reason: "--auth"}
}

// devToken is the path of the administrator's token, whether it is there or not.
func (cfg devConfig) devToken() (string, error) {
	return filepath.Abs(filepath.Join(cfg.data, devTokenFile))
}

// beginDevAuth removes the token of data that are removed.
func beginDevAuth(cfg devConfig) error {
	file, err := cfg.devToken()
	if err != nil || !cfg.fresh || !fileExists(file) {
		return err
	}
	return os.Remove(file)
}

// devClients are how dev calls its nodes: without a token, and with that of the administrator, if there is one.
type devClients struct {
	anonymous *client.Client
	admin     *client.Client // nil: there is no token
}

func openDevClients(cfg devConfig, nodes []devcluster.Node) (*devClients, error) {
	var d devClients
	var err error
	if d.anonymous, err = devClient(cfg, nodes, ""); err != nil {
		return nil, err
	}
	if err := d.openAdmin(cfg, nodes); err != nil {
		d.Close()
		return nil, err
	}
	return &d, nil
}

// openAdmin makes a client with the administrator's token, if its file is there.
func (d *devClients) openAdmin(cfg devConfig, nodes []devcluster.Node) error {
	file, err := cfg.devToken()
	if err != nil || !fileExists(file) {
		return err
	}
	if _, err := readToken(file); err != nil {
		return fmt.Errorf("%s: %w; --fresh begins anew", file, err)
	}
	d.admin, err = devClient(cfg, nodes, file)
	return err
}

func (d *devClients) Close() {
	d.anonymous.Close()
	if d.admin != nil {
		d.admin.Close()
	}
}

// status asks for the status of the cluster, by the token if that is one already.
func (d *devClients) status(ctx context.Context) (*rollcallv1.GetStatusResponse, error) {
	if d.admin != nil {
		if s, err := d.admin.ClusterStatus(ctx); !client.IsUnauthenticated(err) {
			return s, err
		}
	}
	return d.anonymous.ClusterStatus(ctx)
}

// enforce makes sure that access is enforced, and that the token of the data is an administrator's.
func (d *devClients) enforce(parent context.Context, cfg devConfig, nodes []devcluster.Node) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(parent, patience)
	defer cancel()
	me, err := d.anonymous.WhoAmI(ctx)
	switch {
	case err != nil:
		return doing("ask whether access is enforced", err)
	case me.GetEnforced() && d.admin == nil:
		return devFailure(fmt.Errorf("access is enforced, and %s with the administrator's token is not there any more; put it back, or begin anew with --fresh", filepath.Join(cfg.data, devTokenFile)))
	case me.GetEnforced():
		_, err := d.admin.WhoAmI(ctx)
		return doingIf("use the administrator's token", err)
	}
	if err := d.makeAdmin(ctx, cfg, nodes); err != nil {
		return err
	}
	for {
		_, err := d.admin.SetAuth(ctx, client.AuthSetting{Enforced: true, Anonymous: access.Viewer}, devChange())
		if !client.IsUnauthenticated(err) || ctx.Err() != nil {
			return doingIf("enforce access", err)
		}
		pause(ctx, 50*time.Millisecond) // the node that is asked has not seen the token yet
	}
}

// makeAdmin makes the administrator's token, which is in its file before the cluster knows of it: what ends in between
// is done by the next start.
func (d *devClients) makeAdmin(ctx context.Context, cfg devConfig, nodes []devcluster.Node) error {
	file, err := cfg.devToken()
	if err != nil {
		return err
	}
	if d.admin == nil {
		if err := writeToken(file, accesstoken.New()); err != nil {
			return fmt.Errorf("write the administrator's token: %w", err)
		}
		if err := d.openAdmin(cfg, nodes); err != nil {
			return err
		}
	}
	secret, err := readToken(file)
	if err != nil {
		return err
	}
	for t, err := range d.anonymous.ListTokens(ctx, client.ListTokensOptions{}) {
		switch {
		case err != nil:
			return doing("list tokens", err)
		case t.GetName() == devTokenName && t.GetId() != secret.ID(): // its file is gone
			if _, err := d.anonymous.RevokeToken(ctx, devTokenName, devChange()); err != nil {
				return doing("revoke the token that is gone", err)
			}
		}
	}
	_, _, err = d.anonymous.CreateToken(ctx, client.NewToken{
		Name: devTokenName, Description: "made by rollcall dev --auth", Secret: secret,
		Grants: []*rollcallv1.Grant{{Role: access.Admin, Patterns: []string{"*"}}},
	}, devChange())
	return doingIf("create the administrator's token", err)
}

// doingIf is doing for what may be no error.
func doingIf(what string, err error) error {
	if err == nil {
		return nil
	}
	return doing(what, err)
}

// awaitDev waits until the cluster is ready as a whole, and access is enforced if it is to be.
func awaitDev(ctx context.Context, cfg devConfig, nodes []devcluster.Node) error {
	d, err := openDevClients(cfg, nodes)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := awaitCluster(ctx, d.status, cfg.readyTimeout); err != nil || !cfg.auth {
		return err
	}
	if err := d.enforce(ctx, cfg, nodes); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// devTokenHint is what a shell needs to call a dev cluster as its administrator.
func (o *devOutput) devTokenHint() string {
	if o.token == "" || !fileExists(o.token) {
		return ""
	}
	return fmt.Sprintf("  export ROLLCALL_TOKEN_FILE=%s\n", shellWord(o.token))
}
