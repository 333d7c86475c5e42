package agent

import (
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/tlsport"
)

// CheckFiles says what is wrong with the files that a configuration names for TLS. New does, too; this starts nothing.
func CheckFiles(cfg *config.Config) error {
	_, err := secure(cfg.TLS, slog.New(slog.DiscardHandler))
	return err
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
