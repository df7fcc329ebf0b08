{{/* What a role may do, as docs/nats.md says it, and for evidence docs/operations.md. */}}
{{- define "consentd.natsRights" -}}
{{- $ledger := default "CONSENT_LEDGER" (default dict .Values.config.ledger).stream -}}
{{- $evidence := default "CONSENT_EVIDENCE" (default dict .Values.config.evidence).ship_stream -}}
{{- $follow := list
  (printf "$JS.API.STREAM.INFO.%s" $ledger)
  (printf "$JS.API.CONSUMER.CREATE.%s" $ledger)
  (printf "$JS.API.CONSUMER.CREATE.%s.>" $ledger)
  (printf "$JS.API.CONSUMER.MSG.NEXT.%s.>" $ledger) -}}
{{- $sidecar := concat $follow (list
  "consent.ledger.beat.beat" "consent.beat.*" "consent.evidence.*"
  (printf "$JS.API.STREAM.MSG.GET.%s" $ledger)
  (printf "$JS.API.DIRECT.GET.%s" $ledger)
  (printf "$JS.API.STREAM.INFO.%s" $evidence)
  (printf "$JS.API.STREAM.MSG.GET.%s" $evidence)) -}}
{{- dict
  "sidecar" (dict "publish" $sidecar "subscribe" (list "_INBOX.>" "consent.beat.*"))
  "writer" (dict "publish" (append $follow "consent.ledger.>") "subscribe" (list "_INBOX.>"))
  "operator" (dict "publish" (list ">") "subscribe" (list ">"))
  | toJson -}}
{{- end -}}

{{/* The configuration of a NATS server, which needs its own name in `SERVER_NAME`. */}}
{{- define "consentd.natsSettings" -}}
{{- $service := include "consentd.partName" (list . "nats") -}}
{{- $peers := printf "%s-peers.%s.svc.%s" $service .Release.Namespace .Values.clusterDomain -}}
{{- $rights := include "consentd.natsRights" . | fromJson -}}
server_name: $SERVER_NAME
listen: {{ include "consentd.listen" (list . 4222) | quote }}
http: {{ include "consentd.listen" (list . 8222) | quote }}
jetstream {
  store_dir: "/data"
  # What is acknowledged is on the disk of a majority.
  sync_interval: always
}
{{- if not .Values.allow.plaintextLedger }}
tls {
  cert_file: "/etc/nats/tls/tls.crt"
  key_file: "/etc/nats/tls/tls.key"
  ca_file: "/etc/nats/tls/ca.crt"
}
{{- end }}
cluster {
  name: {{ include "consentd.fullname" . | quote }}
  listen: {{ include "consentd.listen" (list . 6222) | quote }}
  {{- if not .Values.allow.plaintextLedger }}
  tls {
    cert_file: "/etc/nats/tls/tls.crt"
    key_file: "/etc/nats/tls/tls.key"
    ca_file: "/etc/nats/tls/ca.crt"
    # A server is who has a certificate of the same authority.
    verify: true
    timeout: 5
  }
  {{- end }}
  routes: [
    {{- range $index := until (int .Values.nats.replicas) }}
    "nats-route://{{ $service }}-{{ $index }}.{{ $peers }}:6222"
    {{- end }}
  ]
}
{{- if .Values.nats.users }}
authorization {
  users: [
    {{- range .Values.nats.users }}
    {{- $right := index $rights .role }}
    # {{ .role }}
    {
      nkey: {{ .nkey }}
      permissions {
        publish: {{ toRawJson $right.publish }}
        subscribe: {{ toRawJson $right.subscribe }}
      }
    }
    {{- end }}
  ]
}
{{- end }}
{{ end -}}
