{{/* At most 41 characters, since the pods of prometheus-operator have eleven more. Only the release is cut: parts stay apart. */}}
{{- define "rulecast.name" -}}
{{- $room := sub 40 (len .part) | int -}}
{{- printf "%s-%s" (.root.Release.Name | replace "." "-" | trunc $room | trimSuffix "-") .part -}}
{{- end -}}

{{/* Labels of our own: prometheus-operator replaces app.kubernetes.io/name of its pods. */}}
{{- define "rulecast.selector" -}}
rulecast/release: {{ .root.Release.Name | quote }}
rulecast/part: {{ .part }}
{{- end -}}

{{- define "rulecast.labels" -}}
{{ include "rulecast.selector" . }}
app.kubernetes.io/name: rulecast
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .part }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end -}}

{{- define "rulecast.image" -}}
{{ .root.Values.image.registry }}rulecast/{{ .service }}:{{ default .root.Chart.AppVersion .root.Values.image.tag }}
{{- end -}}

{{/* Of every pod: what the restricted profile asks for. */}}
{{- define "rulecast.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of every container: what the restricted profile asks for, and a read-only root file system. */}}
{{- define "rulecast.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Pods of one kind on different nodes, as far as there are any. */}}
{{- define "rulecast.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "rulecast.selector" . | nindent 8 }}
{{- end -}}

{{- define "rulecast.ruleServiceSettings" -}}
{{- $own := dict "grpc_listen" "0.0.0.0:50051" "http_listen" "0.0.0.0:8080" "database" (dict "migrate" false) "logs" (dict "format" "json") -}}
{{- if .Values.security.insecure -}}
{{- $_ := set $own "security" (dict "insecure" true) -}}
{{- else -}}
{{- $_ := set $own "tls" (dict "certificate" "/etc/rulecast-tls/tls.crt" "key" "/etc/rulecast-tls/tls.key") -}}
{{- end -}}
{{ toYaml (mergeOverwrite $own (deepCopy .Values.ruleService.settings)) }}
{{- end -}}

{{/* It listens on loopback: Prometheus is in the same pod, and nobody else has to reach it. */}}
{{- define "rulecast.deployerSettings" -}}
{{- $service := printf "%s:50051" (include "rulecast.name" (dict "root" . "part" "rule-service")) -}}
{{- $prometheus := dict "url" "http://localhost:9090" "rule_path" "/etc/prometheus/rules/generated" -}}
{{- $own := dict "rule_service" (list $service) "prometheus" $prometheus "logs" (dict "format" "json") -}}
{{- if not .Values.security.insecure -}}
{{- $_ := set $own "upstream" (dict "ca" "/etc/rulecast-access/ca.crt") -}}
{{- end -}}
{{ toYaml (mergeOverwrite $own (deepCopy .Values.deployer.settings)) }}
{{- end -}}

{{/* The deployer, to stand beside a Prometheus: the volume `data` is on a disk that outlives the pod. */}}
{{- define "rulecast.deployer" -}}
name: deployer
image: {{ include "rulecast.image" (dict "root" . "service" "deployer-service") }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: RULECAST_CONFIG, value: /etc/rulecast/deployer.yaml}
  # one name for each pod, the same after every restart
  - name: DEPLOYER_ID
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if not .Values.security.insecure }}
  - {name: DEPLOYER_UPSTREAM_TOKEN_FILE, value: /etc/rulecast-tokens/$(DEPLOYER_ID)}
{{- end }}
startupProbe:
  exec: {command: [deployer-service, health, --live]}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 30
livenessProbe:
  exec: {command: [deployer-service, health, --live]}
  periodSeconds: 30
  timeoutSeconds: 10
readinessProbe:
  exec: {command: [deployer-service, health]}
  periodSeconds: 15
  timeoutSeconds: 10
resources: {{- toYaml .Values.deployer.resources | nindent 2 }}
securityContext:
  # not Prometheus's user: it can not change the rules
  runAsUser: 65532
  runAsGroup: 65532
  {{- include "rulecast.container" . | nindent 2 }}
volumeMounts:
  - {name: data, mountPath: /etc/prometheus/rules/generated, subPath: rulecast-rules}
  - {name: deployer-settings, mountPath: /etc/rulecast, readOnly: true}
  - {name: deployer-tmp, mountPath: /tmp}
{{- if not .Values.security.insecure }}
  - {name: access, mountPath: /etc/rulecast-access, readOnly: true}
  - {name: deployer-tokens, mountPath: /etc/rulecast-tokens, readOnly: true}
{{- end }}
{{- end -}}

{{- define "rulecast.deployerVolumes" -}}
- name: deployer-settings
  configMap: {name: {{ include "rulecast.name" (dict "root" . "part" "deployer") }}}
- name: deployer-tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- if not .Values.security.insecure }}
- name: deployer-tokens
  secret: {secretName: {{ .Values.security.deployerTokens }}, defaultMode: 0440}
# by whom the rule service's certificate is signed, and what Prometheus shows it
- name: access
  projected:
    defaultMode: 0440
    sources:
      - secret: {name: {{ .Values.security.tlsSecret }}, items: [{key: ca.crt, path: ca.crt}]}
      - secret: {name: {{ .Values.security.prometheusToken }}, items: [{key: token, path: token}]}
{{- end }}
{{- end -}}

{{/* Of Prometheus's container. */}}
{{- define "rulecast.prometheusMounts" -}}
- {name: data, mountPath: /etc/prometheus/rules/generated, subPath: rulecast-rules, readOnly: true}
{{- if not .Values.security.insecure }}
- {name: access, mountPath: /etc/rulecast-access, readOnly: true}
{{- end }}
{{- end -}}

{{- define "rulecast.prometheusConfig" -}}
{{- $service := include "rulecast.name" (dict "root" . "part" "rule-service") -}}
{{- $scheme := .Values.security.insecure | ternary "http" "https" -}}
global:
  scrape_interval: {{ .Values.prometheus.scrapeInterval }}
  evaluation_interval: {{ .Values.prometheus.evaluationInterval }}
rule_files: [/etc/prometheus/rules/generated/*.yml]
{{- with .Values.prometheus.alertmanagers }}
alerting:
  alertmanagers:
    - static_configs:
        - targets: {{ toJson . }}
{{- end }}
scrape_configs:
  # the hosts, with the labels of their groups: Rulecast knows them
  - job_name: node
    http_sd_configs:
      - url: {{ $scheme }}://{{ $service }}:8080/api/v1/sd/prometheus
{{- if not .Values.security.insecure }}
        # the type too: before 2.48 Prometheus sends none here by itself (its issue 12762)
        authorization: {type: Bearer, credentials_file: /etc/rulecast-access/token}
        tls_config: {ca_file: /etc/rulecast-access/ca.crt}
{{- end }}
  - job_name: rule-service
    dns_sd_configs:
      - {names: [{{ $service }}-pods], type: A, port: 8080}
    scheme: {{ $scheme }}
{{- if not .Values.security.insecure }}
    tls_config: {ca_file: /etc/rulecast-access/ca.crt, server_name: {{ $service }}}
{{- end }}
  - job_name: deployer
    static_configs:
      - targets: [localhost:8081]
  - job_name: prometheus
    static_configs:
      - targets: [localhost:9090]
{{- with .Values.prometheus.scrapeConfigs }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}
