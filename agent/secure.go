package agent

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/tlsport"
)

// CheckFiles says what is wrong with the files that a configuration names for TLS, and with that of the token. New does,
// too; this starts nothing.
func CheckFiles(cfg *config.Config) error {
	_, err := connections(cfg, slog.New(slog.DiscardHandler), nil)
	return err
}

// connections returns how the agent reaches the registry.
func connections(cfg *config.Config, logger *slog.Logger, more []grpc.DialOption) (client.Config, error) {
	secured, err := secure(cfg.TLS, logger)
	if err != nil {
		return client.Config{}, err
	}
	cc := client.DefaultConfig()
	cc.Endpoints, cc.Logger, cc.DialOptions, cc.Actor, cc.TokenFile = cfg.Endpoints, logger, append(secured, more...), actor(), cfg.TokenFile
	if err := cc.CheckToken(); err != nil {
		return client.Config{}, fmt.Errorf("cluster.token_file: %s", strings.TrimPrefix(err.Error(), "client: "))
	}
	return cc, nil
}

// secure returns what connections to the registry need for TLS; nothing if they are plain text. The files are read now,
// so that one that is wrong is said at the start, and again for each connection.
func secure(cfg config.TLS, logger *slog.Logger) ([]grpc.DialOption, error) {
	if len(cfg.CA) == 0 {
		return nil, nil
	}
	files := certs.Files{Cert: cfg.Cert, Key: cfg.Key, CA: cfg.CA}
	if slices.Equal(files.CA, []string{config.SystemCAs}) {
		files.CA = nil
	}
	source, err := certs.Open(files, certs.Options{Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("cluster.ca, cert and key: %w", err)
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(tlsport.ClientCredentials(source))}, nil
}
